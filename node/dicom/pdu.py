"""The upper layer's PDUs (PS3.8 9.3) on a blocking socket: read into one buffer of fixed size, write whole.

pynetdicom reads 4 KiB at a time, sleeps a millisecond between looks and copies each fragment several times; here a PDU
is one or two system calls, and its bytes go from the buffer straight to the file. It still encodes and decodes the
PDUs of the negotiation, which come once per association.
"""

import socket
import struct
import time
from collections.abc import Iterator
from typing import NamedTuple

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, DATA_TF, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
HEADER = struct.Struct(">BxI")
PDV_HEADER = struct.Struct(">IBB")
RELEASE_RESPONSE = HEADER.pack(RELEASE_RP, 4) + bytes(4)
AHEAD = 4096
"""Room for the beginning of the next PDU: two of DCMTK's, with their headers, are just longer than our largest."""
COMMAND, LAST = 1, 2  # bits of the message control header, PS3.8 E.2


class ConnectionEndedError(Exception):
    """The peer is gone, or silent for too long."""


class ProtocolError(Exception):
    """The peer breaks the protocol; reason: of the A-ABORT it gets (PS3.8 table 9-26)."""

    def __init__(self, what: str, reason: int = 0) -> None:
        super().__init__(what)
        self.reason = reason


class Fragment(NamedTuple):
    """One presentation data value: what it belongs to and a view of its bytes, valid until the next PDU is read."""

    context: int
    is_command: bool
    is_last: bool
    data: memoryview


class PduStream:
    """A connection as PDUs. largest: bytes of a PDU's body beyond which the peer is cut off, whatever it says.

    A PDU that has begun must end within `timeout` seconds; so long may also be the silence before it.
    """

    def __init__(self, connection: socket.socket, largest: int, timeout: float) -> None:
        self._connection = connection
        self._largest = largest
        self._buffer = memoryview(bytearray(HEADER.size + largest + AHEAD))
        self._begin = self._end = 0  # what has come and is not yet read lies in between
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.set_timeout(timeout)

    def allow(self, largest: int) -> None:
        """Set the largest PDU's body; what has come already stays."""
        came = bytes(self._buffer[self._begin : self._end])
        self._largest = largest
        self._buffer = memoryview(bytearray(max(HEADER.size + largest + AHEAD, len(came))))
        self._buffer[: len(came)] = came
        self._begin, self._end = 0, len(came)

    def set_timeout(self, seconds: float) -> None:
        """Set how long to wait for the peer."""
        self._timeout = seconds
        whole, part = divmod(max(round(seconds * 1e6), 1), 1_000_000)  # zero would be for ever
        timeout = struct.pack("@ll", whole, part)
        self._connection.setblocking(True)
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)

    def read(self) -> tuple[int, memoryview]:
        """Return type and body of the next PDU; the body is overwritten by the next call.

        Raises ConnectionEndedError, ProtocolError.
        """
        self._fill(HEADER.size, 0)
        kind, length = HEADER.unpack_from(self._buffer, self._begin)
        if not ASSOCIATE_RQ <= kind <= ABORT:
            raise ProtocolError(f"an unknown PDU of type {kind}", 1)
        if length > self._largest:
            raise ProtocolError(f"a PDU of {length} bytes, where {self._largest} are allowed", 6)
        self._fill(HEADER.size + length, socket.MSG_WAITALL)
        start = self._begin + HEADER.size
        self._begin = start + length
        return kind, self._buffer[start : self._begin]

    def write(self, data: bytes) -> None:
        """Send bytes. Raises ConnectionEndedError."""
        try:
            self._connection.sendall(data)
        except OSError as error:
            raise ConnectionEndedError(f"the connection broke ({error.strerror or error})") from error

    def _fill(self, wanted: int, flag: int) -> None:
        """Have so many bytes in the buffer. flag: MSG_WAITALL to wait for just these, 0 to take what else is there."""
        left = self._end - self._begin
        if left >= wanted:
            return
        deadline = time.monotonic() + self._timeout
        if left == 0 or self._begin + wanted > len(self._buffer):
            self._buffer[:left] = bytes(self._buffer[self._begin : self._end])
            self._begin, self._end = 0, left
        while (missing := self._begin + wanted - self._end) > 0:
            room = self._buffer[self._end :]
            count = self._receive(room[:missing] if flag else room, flag)
            self._end += count
            if count < missing and time.monotonic() > deadline:
                raise ConnectionEndedError(f"it took longer than {self._timeout:g} s for one PDU")

    def _receive(self, view: memoryview, flag: int) -> int:
        try:
            # Senders that leave Nagle's algorithm on wait for this acknowledgement before they send the rest of an
            # object; the kernel would hold it back for 40 ms. It forgets the wish, so it is told each time.
            self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            count = self._connection.recv_into(view, len(view), flag)
        except BlockingIOError as error:
            raise ConnectionEndedError(f"it was silent for {self._timeout:g} s") from error
        except OSError as error:
            raise ConnectionEndedError(f"the connection broke ({error.strerror or error})") from error
        if count == 0:
            raise ConnectionEndedError("it closed the connection")
        return count

    def close(self) -> None:
        """Close the connection; what was written is still sent."""
        self._connection.close()

    def interrupt(self) -> None:
        """End the connection from another thread: whoever waits in it wakes."""
        try:
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return


def fragments(body: memoryview) -> Iterator[Fragment]:
    """Yield the presentation data values of a P-DATA-TF PDU. Raises ProtocolError."""
    at = 0
    while at < len(body):
        if len(body) - at < PDV_HEADER.size:
            raise ProtocolError("a presentation data value without a header", 6)
        length, context, control = PDV_HEADER.unpack_from(body, at)
        end = at + 4 + length
        if length < 2 or end > len(body):
            raise ProtocolError("a presentation data value that does not fit into its PDU", 6)
        yield Fragment(context, bool(control & COMMAND), bool(control & LAST), body[at + 6 : end])
        at = end


def command_pdus(context: int, command: bytes, largest: int) -> bytes:
    """Return a command set as P-DATA-TF PDUs no larger than the peer takes (0: any size), but of two bytes at least.

    DCMTK refuses fragments of an odd length.
    """
    room = max((largest - PDV_HEADER.size) // 2 * 2, 2) if largest else len(command)
    pieces = [command[at : at + room] for at in range(0, len(command), room)]
    made = bytearray()
    for number, piece in enumerate(pieces, 1):
        control = COMMAND | (LAST if number == len(pieces) else 0)
        made += HEADER.pack(DATA_TF, len(piece) + PDV_HEADER.size)
        made += PDV_HEADER.pack(len(piece) + 2, context, control) + piece
    return bytes(made)


def abort(source: int, reason: int) -> bytes:
    """Return an A-ABORT PDU; source: 0 = the user, 2 = the provider (PS3.8 9.3.8)."""
    return HEADER.pack(ABORT, 4) + bytes((0, 0, source, reason))


def reject(result: int, source: int, reason: int) -> bytes:
    """Return an A-ASSOCIATE-RJ PDU (PS3.8 9.3.4)."""
    return HEADER.pack(ASSOCIATE_RJ, 4) + bytes((0, result, source, reason))
