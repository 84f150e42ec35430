"""The upper layer's PDUs (PS3.8 9.3) on a stream: read into one buffer of fixed size, written whole.

pynetdicom reads 4 KiB at a time, sleeps a millisecond between polls and copies each fragment several times; here a PDU
takes one or two system calls, and its bytes go from the buffer straight to the file. pynetdicom still encodes and
decodes the PDUs of the negotiation, which are sent once per association.
"""

import struct
import time
from collections.abc import Iterator
from typing import NamedTuple

from node.dicom.stream import ConnectionEndedError, SocketStream

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, DATA_TF, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
HEADER = struct.Struct(">BxI")
PDV_HEADER = struct.Struct(">IBB")
RELEASE_RESPONSE = HEADER.pack(RELEASE_RP, 4) + bytes(4)
READ_AHEAD = 4096
"""Space for the beginning of the next PDU: two of DCMTK's, with their headers, are just longer than our maximum."""
OTHER_PROTOCOLS = {0x16: " (it looks like TLS)"} | dict.fromkeys(b"GHOP", " (it looks like HTTP)")
"""What a caller that speaks no DICOM begins with: a TLS record; GET, HEAD, OPTIONS or POST."""
COMMAND, LAST = 1, 2  # bits of the message control header, PS3.8 E.2


class ProtocolError(Exception):
    """The peer violates the protocol; reason: of the A-ABORT it is sent (PS3.8 table 9-26)."""

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
    """Reads and writes PDUs. max_length: of a PDU's body, in bytes; a longer one is a protocol error.

    The stream's timeout applies to the silence before a PDU, and to the whole PDU once it has begun.
    """

    def __init__(self, stream: SocketStream, max_length: int) -> None:
        self._stream = stream
        self._max_length = max_length
        self._buffer = memoryview(bytearray(HEADER.size + max_length + READ_AHEAD))
        self._begin = self._end = 0  # of the bytes that are received and not yet read

    def set_max_length(self, max_length: int) -> None:
        """Set the maximum length of a PDU's body; bytes already received are kept."""
        received = bytes(self._buffer[self._begin : self._end])
        self._max_length = max_length
        self._buffer = memoryview(bytearray(max(HEADER.size + max_length + READ_AHEAD, len(received))))
        self._buffer[: len(received)] = received
        self._begin, self._end = 0, len(received)

    def read(self) -> tuple[int, memoryview]:
        """Return type and body of the next PDU; the next call overwrites the body.

        Raises ConnectionEndedError, ProtocolError.
        """
        self._fill(HEADER.size, wait_all=False)
        kind, length = HEADER.unpack_from(self._buffer, self._begin)
        if not ASSOCIATE_RQ <= kind <= ABORT:
            raise ProtocolError(f"a PDU of unknown type {kind}{OTHER_PROTOCOLS.get(kind, '')}", 1)
        if length > self._max_length:
            raise ProtocolError(f"a PDU of {length} bytes; the maximum is {self._max_length}", 6)
        self._fill(HEADER.size + length, wait_all=True)
        start = self._begin + HEADER.size
        self._begin = start + length
        return kind, self._buffer[start : self._begin]

    def write(self, data: bytes) -> None:
        """Send encoded PDUs. Raises ConnectionEndedError."""
        self._stream.sendall(data)

    def _fill(self, wanted: int, *, wait_all: bool) -> None:
        """Read until `wanted` bytes are in the buffer; wait_all: read no more than these, and wait for all of them."""
        unread = self._end - self._begin
        if unread >= wanted:
            return
        deadline = time.monotonic() + self._stream.timeout
        if unread == 0 or self._begin + wanted > len(self._buffer):
            self._buffer[:unread] = bytes(self._buffer[self._begin : self._end])
            self._begin, self._end = 0, unread
        while (missing := self._begin + wanted - self._end) > 0:
            space = self._buffer[self._end :]
            count = self._stream.recv_into(space[:missing] if wait_all else space, wait_all=wait_all)
            self._end += count
            if count < missing and time.monotonic() > deadline:
                raise ConnectionEndedError(f"one PDU took longer than {self._stream.timeout:g} s")


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


def command_pdus(context: int, command: bytes, max_length: int) -> bytes:
    """Return a command set as P-DATA-TF PDUs no longer than the peer's maximum (0: no limit).

    A fragment has two bytes at least, and an even number: DCMTK rejects odd ones.
    """
    size = max((max_length - PDV_HEADER.size) // 2 * 2, 2) if max_length else len(command)
    pieces = [command[at : at + size] for at in range(0, len(command), size)]
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
