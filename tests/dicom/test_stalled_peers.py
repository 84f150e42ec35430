"""Peers that stall in every step: each exchange ends within its time limit, and no other peer waits."""

import os
import socket
import threading
import time

import pytest
from odd_peer import acceptance, storing
from raw_caller import COMMAND_END, DATA_END, elements, p_data, pdu, pdv

from node.errors import PeerError
from node.scu import connection
from node.scu.find import ObjectName, count_images, known_objects
from node.scu.requestor import echo
from node.scu.stop_signal import StopSignal
from node.scu.storage import Patience, send_files
from node.settings.routing import Peer

TIMEOUT = 1.0
LONGEST = 8.0  # seconds; a few time limits, on a busy machine


def then(stall):
    """Accept the association, read the object, then stall."""

    def behave(talk, body):
        talk.say(acceptance(body))
        talk.read()
        stall(talk)

    return behave


def garbage(talk):
    talk.say(b"\x99" + os.urandom(999))
    talk.stall()


def half_answer(talk, body):
    talk.say(acceptance(body)[:40])
    talk.stall()


def endless(talk):
    while not talk.ended.is_set():
        talk.say(pdu(4, b""))
        time.sleep(0.05)


def reads_a_little(talk, body):
    talk.say(acceptance(body))
    while not talk.ended.wait(0.2):
        talk.connection.recv(100)


STALLS = {
    "says nothing": lambda talk, body: talk.stall(),
    "half an answer": half_answer,
    "drips its answer": lambda talk, body: talk.drip(acceptance(body)),
    "reads nothing": lambda talk, body: (talk.say(acceptance(body)), talk.stall()),
    "reads a byte now and then": reads_a_little,
    "no response": then(lambda talk: talk.stall()),
    "half a PDU": then(lambda talk: (talk.say(pdu(4, b"\0\0\0", 1000)), talk.stall())),
    "half a header": then(lambda talk: (talk.say(b"\x04\x00\x00"), talk.stall())),
    "drips its response": then(lambda talk: (talk.say(pdu(4, b"", 100_000)), talk.drip(bytes(1000)))),
    "empty PDUs without end": then(endless),
    "a PDU of 4 GB": then(lambda talk: (talk.say(pdu(4, b"", 0xFFFFFFFF)), talk.stall())),
    "garbage": then(garbage),
}


@pytest.fixture
def large(ct_series):
    """A file of 8 MB: more than the buffers of both ends hold."""

    def grow(_index, dataset):
        dataset.add_new(0x00091001, "OB", bytes(8_000_000))

    [path] = ct_series(1, grow)
    return path


@pytest.mark.parametrize("stall", STALLS)
def test_a_file_is_given_up_in_time(start_odd, large, stall):
    odd, began = start_odd(STALLS[stall]), time.monotonic()
    patience = Patience(TIMEOUT, StopSignal())
    try:
        [sent] = send_files(odd.peer, [large], "QCTNODE", timeout=TIMEOUT, patience=patience)
    except PeerError as error:
        assert error.retry
    else:
        assert not sent.ok and sent.retry
    # An object of 8 MB may take 800 s at the slowest speed allowed, so one PDU's time limit ends it.
    assert time.monotonic() - began < LONGEST


@pytest.mark.parametrize("stall", STALLS)
def test_c_echo_and_c_find_are_given_up_in_time(start_odd, stall):
    odd = start_odd(STALLS[stall])
    for ask in (
        lambda: echo(odd.peer, "QCTNODE", TIMEOUT),
        lambda: count_images(odd.peer, "QCTNODE", "1.2", "1.2.3", TIMEOUT),
    ):
        began = time.monotonic()
        with pytest.raises(PeerError) as failure:
            ask()
        assert failure.value.retry
        assert time.monotonic() - began < LONGEST


def test_matches_that_come_slowly_end_with_the_whole_query(start_odd, monkeypatch):
    monkeypatch.setattr("node.scu.find.WHOLE", 2)
    pending = elements({0x0100: 0x8020, 0x0120: 1, 0x0800: 1, 0x0900: 0xFF00})

    def matches(talk):
        while not talk.ended.wait(0.4):
            talk.say(p_data(pdv(1, COMMAND_END, pending), pdv(1, DATA_END, b"")))

    odd, began = start_odd(then(matches)), time.monotonic()
    with pytest.raises(PeerError, match="did not answer C-FIND in time"):
        known_objects(odd.peer, "QCTNODE", [ObjectName("1.2", "1.2.3", "1.2.3.4")], TIMEOUT)
    assert time.monotonic() - began < LONGEST


@pytest.mark.parametrize("stall", ["says nothing", "reads nothing", "no response"])
def test_the_signal_ends_a_stalled_association_at_once(start_odd, large, stall):
    odd, stop, outcome = start_odd(STALLS[stall]), StopSignal(), []

    def send():
        try:
            outcome.extend(send_files(odd.peer, [large], "QCTNODE", timeout=30, patience=Patience(30, stop)))
        except PeerError as error:
            outcome.append(error)

    sender = threading.Thread(target=send)
    sender.start()
    time.sleep(0.5)
    stop.set()
    sender.join(5)
    assert not sender.is_alive()
    assert outcome and outcome[0].retry


def test_the_signal_ends_an_attempt_to_connect():
    stop, began = StopSignal(), time.monotonic()
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        peer = Peer(name="full", ae_title="FULL", host="127.0.0.1", port=full.getsockname()[1])
        threading.Timer(0.5, stop.set).start()
        with pytest.raises(PeerError) as failure, connection.connected(peer, 30, stop):
            pass
        assert failure.value.retry
        for filler in fillers:
            filler.close()
    assert time.monotonic() - began < LONGEST


def test_what_is_sent_is_the_object(start_odd, ct_series):
    """The odd archive itself works, so that its stalls are what the tests above see."""
    odd = start_odd(storing())
    [sent] = send_files(odd.peer, ct_series(1), "QCTNODE", timeout=TIMEOUT)
    assert (sent.ok, odd.stored) == (True, [sent.sop_uid])
