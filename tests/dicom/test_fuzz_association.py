"""Invalid bytes instead of, within or after a valid association: the node answers or closes, and keeps running."""

import socket
import struct
import threading

import pytest
from fuzzing import fuzz, mutated, mutations
from hypothesis import given
from hypothesis import strategies as st
from raw_caller import (
    ABORT,
    COMMAND,
    COMMAND_END,
    CONTEXTS,
    CT,
    DATA,
    DATA_END,
    EXPLICIT,
    IMPLICIT,
    RELEASE,
    VERIFICATION,
    Caller,
    context,
    data_set,
    echo,
    echo_command,
    elements,
    item,
    p_data,
    pdu,
    pdv,
    request,
    store,
    store_command,
)  # fmt: skip

from node.logs import silence_pynetdicom
from node.scu.requestor import echo as verify
from node.scu.storage import send_files
from node.settings.routing import Peer

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR UI:UserWarning")

BOUND_SECONDS = 20.0
"""Nothing the caller says may keep an answer or the end of the connection from it for longer."""


@pytest.fixture
def hasty(start_node, monkeypatch):
    """A node with short timeouts, so that incomplete associations end quickly."""
    monkeypatch.setattr("node.scp.acceptor.REQUEST_SECONDS", 0.3)
    silence_pynetdicom()
    return start_node(intake={"network_timeout_seconds": 0.3, "maximum_object_mb": 2})


class Tap:
    """A proxy between a sender and a node that records the bytes of the sender."""

    def __init__(self, port):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._node = port
        self.port = self._listener.getsockname()[1]
        self.said = bytearray()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        caller, _ = self._listener.accept()
        node = socket.create_connection(("127.0.0.1", self._node))
        back = threading.Thread(target=_pass_on, args=(node, caller, None), daemon=True)
        back.start()
        _pass_on(caller, node, self.said)
        back.join()

    def heard(self):
        self._thread.join(20)
        self._listener.close()
        return bytes(self.said)


def _pass_on(source, target, keep):
    while piece := source.recv(65536):
        if keep is not None:
            keep += piece
        target.sendall(piece)
    target.shutdown(socket.SHUT_WR)


@pytest.fixture
def conversations(node, ct_series, dcmtk):
    """Valid associations as lists of PDUs: from pynetdicom, from DCMTK, and one with many small fragments."""
    [path] = ct_series(1)
    said = []
    tap = Tap(node.receiver.port)
    send_files(Peer(name="tap", ae_title="QCTNODE", host="127.0.0.1", port=tap.port), [path], "SCANNER")
    said.append(tap.heard())
    tap = Tap(node.receiver.port)
    assert dcmtk("storescu", "-aec", "QCTNODE", "127.0.0.1", tap.port, path).returncode == 0
    said.append(tap.heard())
    said.append(request() + echo() + store(*data_set(path), room=700) + echo(2) + RELEASE)
    return [pdus(content) for content in said]


def pdus(content):
    """Split bytes into PDUs."""
    found = []
    while content:
        (length,) = struct.unpack(">I", content[2:6])
        found.append(content[: 6 + length])
        content = content[6 + length :]
    return found


def survives(node, content, caplog, ends=True):
    """Send bytes and check that the node ends the connection; ends: whether this side closes at once."""
    caplog.clear()
    with Caller(node.receiver.port, BOUND_SECONDS) as caller:
        try:
            caller.send(content)
            if ends:
                caller.socket.shutdown(socket.SHUT_WR)
        except OSError as error:  # the node has closed the connection
            assert not isinstance(error, TimeoutError), "the node takes nothing"
        try:
            caller.ending()
        except OSError as error:
            assert not isinstance(error, TimeoutError), "neither an answer nor the end"
    for record in caplog.records:
        assert not record.exc_info and record.levelname != "ERROR", record


def lives(node, poll):
    """Check that the node answers, has no partly written file and no open association."""
    verify(node.peer, "CHECKER")
    poll(lambda: node.ledger.associations.count_open() == 0, what="the end of all associations")
    assert [path for path in node.stored() if path.parent.name == "tmp"] == []
    assert all(path.stat().st_size > 300 for path in node.stored())


def test_valid_associations_with_changed_bytes(hasty, conversations, caplog, poll):
    @fuzz(200)
    @given(data=st.data())
    def search(data):
        content = b"".join(data.draw(st.sampled_from(conversations)))
        # Half of the changes go to the first bytes: the request and the first command.
        length = data.draw(st.sampled_from([len(content), 700]))
        changes = data.draw(mutations(length))
        survives(hasty, mutated(content, changes), caplog, ends=data.draw(st.integers(0, 9)) > 0)

    search()
    lives(hasty, poll)


def test_valid_pdus_in_another_order(hasty, conversations, caplog, poll):
    extra = [RELEASE, ABORT, echo(), request(), pdu(2, bytes(80)), pdu(3, bytes(4)), pdu(6, bytes(4)), p_data()]

    @fuzz(120)
    @given(data=st.data())
    def search(data):
        parts = list(data.draw(st.sampled_from(conversations)))
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(parts) - 1))
            do = data.draw(st.sampled_from(["drop", "double", "swap", "extra", "length"]))
            if do == "drop" and len(parts) > 1:
                del parts[at]
            elif do == "double":
                parts.insert(at, parts[at])
            elif do == "swap":
                other = data.draw(st.integers(0, len(parts) - 1))
                parts[at], parts[other] = parts[other], parts[at]
            elif do == "extra":
                parts.insert(at, data.draw(st.sampled_from(extra)))
            else:
                said = data.draw(st.integers(0, 2**32 - 1) | st.integers(0, 2000))
                parts[at] = parts[at][:2] + struct.pack(">I", said) + parts[at][6:]
        survives(hasty, b"".join(parts), caplog)

    search()
    lives(hasty, poll)


NUMBERS = st.sampled_from([1, 3, 5, 0, 2, 255])
CONTROLS = st.sampled_from([DATA, COMMAND, DATA_END, COMMAND_END, 4, 255])
SMALL = st.binary(max_size=40)
UIDS = st.sampled_from([CT, VERIFICATION, "1.2.3", "", "../../etc", "1." * 40, "1.2\0.3", "\n1.2", "ü1"])
COMMANDS = st.one_of(
    SMALL,
    st.builds(echo_command, st.integers(0, 65535)),
    st.builds(store_command, UIDS, st.integers(0, 65535), UIDS),
    st.builds(
        elements,
        st.dictionaries(
            st.sampled_from([0x0002, 0x0100, 0x0110, 0x0800, 0x1000, 0x0700, 0xFFFF]),
            SMALL | st.integers(0, 65535) | st.sampled_from([0x0001, 0x0030, 0x0FFF, 0x0101, 0x8001]),
        ),
        group_length=st.none() | st.integers(0, 2**32 - 1),
    ),
)
VALUES = st.builds(pdv, NUMBERS, CONTROLS, COMMANDS, st.none() | st.integers(0, 2**32 - 1) | st.integers(0, 60))
GOOD_VALUES = st.builds(pdv, st.sampled_from([1, 3]), st.sampled_from([0, 2, 3]), COMMANDS)
SAID = st.one_of(
    st.lists(VALUES, max_size=4).map(lambda values: p_data(*values)),
    st.lists(GOOD_VALUES, min_size=1, max_size=4).map(lambda values: p_data(*values)),
    st.builds(pdu, st.integers(0, 255), SMALL, st.none() | st.integers(0, 2**32 - 1)),
)


def test_unexpected_pdus_within_an_association(hasty, caplog, poll):
    @fuzz(250)
    @given(said=st.lists(SAID, min_size=1, max_size=6))
    def search(said):
        survives(hasty, request() + b"".join(said), caplog)

    search()
    lives(hasty, poll)


TEXTS = st.one_of(UIDS, st.text(max_size=80), st.just(EXPLICIT), st.just(IMPLICIT))
ITEMS = st.recursive(
    SMALL,
    lambda inner: st.lists(
        st.builds(item, st.sampled_from([0x10, 0x20, 0x21, 0x30, 0x40, 0x50, *range(0x51, 0x5A), 0, 0xFF]), inner),
        max_size=4,
    ).map(b"".join),
    max_leaves=12,
)
OFFERS = st.builds(lambda n, uid, some: context(n, uid, *some), st.integers(0, 255), TEXTS, st.lists(TEXTS, max_size=4))
CALLS = st.builds(
    request,
    st.lists(OFFERS | ITEMS | st.just(CONTEXTS[0]), max_size=5),
    called=st.sampled_from(["QCTNODE", "", " ", "ANY", "Q\0\0"]),
    calling=st.sampled_from(["SCANNER", "", "\r\nROOT", "A\x1b[2J", "\xff\xfe"]),
    application=st.sampled_from(["1.2.840.10008.3.1.1.1", "", "1.2"]),
    largest=st.sampled_from([0, 1, 6, 7, 8, 127, 16384, 2**32 - 1]),
    version=st.integers(0, 65535),
    more=ITEMS,
)


def test_unusual_requests(hasty, caplog, poll):
    @fuzz(250)
    @given(call=CALLS)
    def search(call):
        survives(hasty, call + echo() + RELEASE, caplog)

    search()
    lives(hasty, poll)


def test_random_bytes(hasty, caplog, poll):
    @fuzz(150)
    @given(content=st.binary(max_size=2000), kind=st.none() | st.integers(0, 8))
    def search(content, kind):
        survives(hasty, content if kind is None else pdu(kind, content), caplog)

    search()
    lives(hasty, poll)
