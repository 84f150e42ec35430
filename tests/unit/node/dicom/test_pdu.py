"""PDUs read from a real socket however they come in, and the values in them, whatever lengths they claim."""

import socket
import struct
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw_caller import p_data, pdv

from node.dicom import pdu
from node.dicom.pdu import PduStream, ProtocolError, fragments
from node.dicom.stream import ConnectionEndedError, SocketStream


@pytest.fixture
def ends():
    """Return both ends of a connection: ours as a stream with a timeout of 5 s, the peer's as a socket."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        other = socket.create_connection(listener.getsockname(), 10)
        connection, _ = listener.accept()
    stream = SocketStream(connection, 5.0)
    yield stream, other
    stream.close()
    other.close()


@pytest.fixture
def ours(ends):
    """Return our end as PDUs of 1000 bytes at most."""
    return PduStream(ends[0], 1000)


def values(body):
    return [(f.context, f.is_command, f.is_last, bytes(f.data)) for f in fragments(memoryview(body))]


def test_values_of_a_pdu():
    body = pdv(1, 3, b"command") + pdv(255, 0, b"") + pdv(3, 2, b"data")
    assert values(body) == [(1, True, True, b"command"), (255, False, False, b""), (3, False, True, b"data")]
    assert values(b"") == []


def test_other_bits_of_the_control_header_are_ignored():
    assert values(pdv(1, 0xFC, b"x")) == [(1, False, False, b"x")]
    assert values(pdv(1, 0xFF, b"x")) == [(1, True, True, b"x")]


@pytest.mark.parametrize("body", [
    b"\0", b"\0" * 5, pdv(1, 0, b"", 0), pdv(1, 0, b"", 1), pdv(1, 0, b"ab", 5), pdv(1, 0, b"ab", 0xFFFFFFFF),
    pdv(1, 0, b"ab", 3), pdv(1, 0, b"ab") + b"\0\0\0",
])  # fmt: skip
def test_invalid_lengths(body):
    with pytest.raises(ProtocolError) as fault:
        values(body)
    assert fault.value.reason == 6  # invalid PDU parameter value, PS3.8 table 9-26


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 3), st.binary(max_size=20)), max_size=8))
def test_fragments_are_read_as_written(parts):
    found = values(b"".join(pdv(*part) for part in parts))
    assert found == [(number, bool(control & 1), bool(control & 2), data) for number, control, data in parts]


@given(st.binary(max_size=80))
def test_any_bytes_are_fragments_or_a_protocol_error(body):
    try:
        assert sum(6 + len(data) for *_, data in values(body)) == len(body)
    except ProtocolError:
        return


@pytest.mark.parametrize("largest", [0, 1, 6, 7, 8, 9, 50, 106, 107, 16384])
@pytest.mark.parametrize("size", [2, 10, 100, 101])
def test_commands_are_split_to_the_maximum_length_of_the_peer(largest, size):
    command = bytes(range(size))
    cut, found = pdu.command_pdus(5, command, largest), []
    while cut:
        kind, length = struct.unpack(">BxI", cut[:6])
        assert kind == pdu.DATA_TF and (largest == 0 or length <= max(largest, 8))
        found += values(cut[6 : 6 + length])
        cut = cut[6 + length :]
    assert b"".join(data for *_, data in found) == command
    assert [last for _, _, last, _ in found] == [False] * (len(found) - 1) + [True]
    assert all(number == 5 and is_command for number, is_command, *_ in found)
    assert all(len(data) % 2 == 0 for *_, data in found[:-1])


def test_abort_reject_and_release_are_those_of_the_standard():
    assert pdu.abort(2, 6) == bytes.fromhex("0700000000040000 0206")
    assert pdu.reject(1, 1, 7) == bytes.fromhex("03000000000400 010107")
    assert bytes.fromhex("060000000004 00000000") == pdu.RELEASE_RESPONSE


STREAM = p_data(pdv(1, 3, b"a" * 50)) + p_data() + p_data(pdv(1, 2, b"b" * 900)) + bytes.fromhex("05000000000400000000")


@pytest.mark.parametrize("step", [1, 2, 5, 6, 7, 59, 64, 500, 10_000])
def test_pdus_are_read_however_their_bytes_arrive(ours, ends, step):
    _, other = ends

    def send():
        for at in range(0, len(STREAM), step):
            other.sendall(STREAM[at : at + step])

    sender = threading.Thread(target=send)
    sender.start()
    found = [(kind, bytes(body)) for kind, body in (ours.read() for _ in range(4))]
    sender.join()
    assert [kind for kind, _ in found] == [4, 4, 4, 5]
    assert b"".join(struct.pack(">BxI", kind, len(body)) + body for kind, body in found) == STREAM


def test_bytes_already_received_are_kept_when_the_maximum_changes(ours, ends):
    _, other = ends
    large = p_data(pdv(1, 2, b"x" * 5000))
    other.sendall(p_data() + large)
    ours.read()
    ours.set_max_length(6000)
    assert bytes(ours.read()[1]) == large[6:]


@pytest.mark.parametrize(("head", "reason"), [
    (struct.pack(">BxI", 4, 1001), 6), (struct.pack(">BxI", 4, 0xFFFFFFFF), 6), (struct.pack(">BxI", 0, 4), 1),
    (struct.pack(">BxI", 8, 4), 1), (b"\xff" * 6, 1), (b"GET / ", 1),
])  # fmt: skip
def test_an_invalid_pdu_header_is_refused_at_once(ours, ends, head, reason):
    _, other = ends
    other.sendall(head)
    with pytest.raises(ProtocolError) as fault:
        ours.read()
    assert fault.value.reason == reason


@pytest.mark.parametrize("said", [b"", b"\4\0", p_data(pdv(1, 2, b"cut"))[:-1]])
def test_a_closed_or_silent_connection_has_ended(ours, ends, said):
    stream, other = ends
    stream.set_timeout(0.05)
    other.sendall(said)
    with pytest.raises(ConnectionEndedError):
        ours.read()
    other.close()
    with pytest.raises(ConnectionEndedError):
        ours.read()


def test_a_slow_pdu_ends_at_the_timeout(ours, ends):
    stream, other = ends
    stream.set_timeout(0.3)
    done = threading.Event()

    def trickle():
        for at in range(len(STREAM)):
            if done.wait(0.05):
                return
            other.sendall(STREAM[at : at + 1])

    sender = threading.Thread(target=trickle)
    sender.start()
    with pytest.raises(ConnectionEndedError, match="took longer"):
        ours.read()
    done.set()
    sender.join()


def test_writing_to_a_peer_that_does_not_read_ends_at_the_timeout(ours, ends):
    stream, _ = ends
    stream.set_timeout(0.1)
    with pytest.raises(ConnectionEndedError, match=r"the peer read (too little in|nothing for) 0\.1 s"):
        ours.write(bytes(50_000_000))


def test_the_smallest_timeout_is_not_endless(ours, ends):
    stream, _ = ends
    stream.set_timeout(1e-9)
    with pytest.raises(ConnectionEndedError):
        ours.read()


def test_a_waiting_read_can_be_interrupted(ours, ends):
    stream, _ = ends
    threading.Timer(0.05, stream.interrupt).start()
    with pytest.raises(ConnectionEndedError):
        ours.read()
    stream.close()
    stream.interrupt()  # after the end it does nothing
