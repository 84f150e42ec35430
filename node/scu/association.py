"""An association that the node has opened: requests and their responses, each within a time limit.

One thread and one socket. A time limit holds for the whole of a step, so a peer that sends or reads a byte now and then
gains nothing; pynetdicom's limits hold for each byte only, and its abort waits for a blocked write.
"""

import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

from node.dicom.association_answer import Acceptance, Offer, decode_abort
from node.dicom.dimse import C_ECHO_RQ, C_STORE_RQ
from node.dicom.pdu import (
    ABORT,
    DATA_TF,
    HEADER,
    LAST,
    PDV_HEADER,
    RELEASE_RESPONSE,
    RELEASE_RP,
    RELEASE_RQ,
    Fragment,
    PduStream,
    ProtocolError,
    abort,
    command_pdus,
    fragments,
)
from node.dicom.requests import C_FIND_RQ, Response, decode_response, encode_request
from node.dicom.stream import ConnectionEndedError, SocketStream

LONGEST_PDU = 262_144  # bytes; of ours, and of the peer's beyond the length that it is told
TOLD_LENGTH = 65_536
LONGEST_PART = 1_000_000  # bytes of a command set or a match of a C-FIND, which has some thousand
SLOWEST = 10_000  # bytes/s; a peer that reads an object more slowly counts as stalled
RELEASE_SECONDS = 5.0
ABORT_SECONDS = 0.5
RELEASE_REQUEST = HEADER.pack(RELEASE_RQ, 4) + bytes(4)

ABORT_REASONS = {  # PS3.8 table 9-26
    1: "unrecognized PDU",
    2: "unexpected PDU",
    4: "unrecognized PDU parameter",
    5: "unexpected PDU parameter",
    6: "invalid PDU parameter value",
}


class AbortedError(ConnectionEndedError):
    """The peer aborted. at_fault: it says that what we sent breaks the protocol, so that a repetition does not help."""

    def __init__(self, body: bytes) -> None:
        source, reason = decode_abort(body)
        self.at_fault = source == 2 and reason in ABORT_REASONS
        words = ABORT_REASONS.get(reason, "no reason given") if source == 2 else "by its application"
        super().__init__(f"aborts the association (A-ABORT, source {source}, reason {reason}: {words})")


class UnansweredError(ConnectionEndedError):
    """The request was sent whole and no response came, so the peer may have done what it asks."""


class Association:
    """An established association. timeout: seconds for each step, `answer_seconds` for the response to a C-STORE."""

    def __init__(self, stream: SocketStream, pdus: PduStream, acceptance: Acceptance, timeout: float) -> None:
        self._stream = stream
        self._pdus = pdus
        self._timeout = timeout
        self._message_id = 0
        self._fragments: list[Fragment] = []  # read and not yet used
        self.accepted = {offer: number for number, offer in acceptance.contexts.items()}
        limit = acceptance.max_length or LONGEST_PDU
        self._max_length = min(limit, LONGEST_PDU)
        self.answer_seconds = timeout
        self.is_open = True

    def echo(self, offer: Offer) -> int:
        """Return the status of a C-ECHO. Raises ConnectionEndedError, ProtocolError."""
        command = encode_request(C_ECHO_RQ, self._next_id(), offer[0])
        self._send(command_pdus(self.accepted[offer], command, self._max_length), self._timeout)
        return self._response(C_ECHO_RQ, time.monotonic() + self._timeout)[0].status

    def store(self, offer: Offer, sop_uid: str, data: BinaryIO, size: int) -> int:
        """Store an object, `size` bytes of data set, and return the status.

        Raises ConnectionEndedError, UnansweredError once all is sent, ProtocolError, OSError of the file.
        """
        context = self.accepted[offer]
        command = encode_request(C_STORE_RQ, self._next_id(), *(offer[0], sop_uid))
        until = time.monotonic() + self._timeout + size / SLOWEST
        pending = command_pdus(context, command, self._max_length)
        for pdu in self._data_pdus(context, data.read, size):
            self._send(pending + pdu, until - time.monotonic())
            pending = b""
        try:
            return self._response(C_STORE_RQ, time.monotonic() + self.answer_seconds)[0].status
        except ConnectionEndedError as error:
            raise UnansweredError(str(error)) from error

    def find(self, offer: Offer, identifier: bytes, until: float) -> Iterator[tuple[int, bytes]]:
        """Yield status and identifier of each response to a C-FIND, to the last one.

        until: when (time.monotonic) the whole exchange must have ended. Raises ConnectionEndedError, ProtocolError.
        """
        context = self.accepted[offer]
        command = encode_request(C_FIND_RQ, self._next_id(), offer[0])
        position = 0

        def read(count: int) -> bytes:
            nonlocal position
            position += count
            return identifier[position - count : position]

        data = b"".join(self._data_pdus(context, read, len(identifier)))
        self._send(command_pdus(context, command, self._max_length) + data, self._timeout)
        pending = True
        while pending:
            response, found = self._response(C_FIND_RQ, min(time.monotonic() + self._timeout, until))
            pending = response.status in {0xFF00, 0xFF01}  # PS3.4 C.4.1.1.4
            yield response.status, found

    def release(self) -> None:
        """Release the association; a peer that does not answer the release has its objects all the same."""
        self.is_open = False
        until = time.monotonic() + min(self._timeout, RELEASE_SECONDS)
        try:
            self._send(RELEASE_REQUEST, until - time.monotonic())
            while self._read(until)[0] not in {RELEASE_RP, ABORT}:
                pass
        except (ConnectionEndedError, ProtocolError):
            return

    def abort(self) -> None:
        """Abort the association, without waiting for a peer that reads nothing."""
        self.is_open = False
        self._stream.set_timeout(ABORT_SECONDS)
        try:
            self._stream.sendall(abort(0, 0))
        except ConnectionEndedError:
            return

    def _next_id(self) -> int:
        self._message_id = self._message_id % 65535 + 1
        return self._message_id

    def _data_pdus(self, context: int, read: Callable[[int], bytes], size: int) -> Iterator[bytes]:
        """Yield P-DATA-TF PDUs with a data set; fragments have an even length, as DCMTK demands."""
        room = max((self._max_length - PDV_HEADER.size) // 2 * 2, 2)
        left = size
        while left:
            piece = read(min(room, left))
            if not piece:
                raise OSError("the file is shorter than it was")
            left -= len(piece)
            control = 0 if left else LAST
            yield (
                HEADER.pack(DATA_TF, len(piece) + PDV_HEADER.size)
                + PDV_HEADER.pack(len(piece) + 2, context, control)
                + piece
            )

    def _send(self, data: bytes, seconds: float) -> None:
        if seconds <= 0:
            raise ConnectionEndedError("the peer reads too slowly")
        self._stream.set_timeout(min(seconds, self._timeout))
        self._pdus.write(data)

    def _response(self, field: int, until: float) -> tuple[Response, bytes]:
        """Return the response to a request with its data set."""
        response = decode_response(self._part(until, is_command=True))
        if response.field != field | 0x8000:
            raise ProtocolError(f"a response of type 0x{response.field:04X} to 0x{field:04X}", 2)
        return response, self._part(until, is_command=False) if response.has_data_set else b""

    def _part(self, until: float, *, is_command: bool) -> bytes:
        """Return a whole command set or data set."""
        part = bytearray()
        while True:
            if not self._fragments:
                self._fragments = self._next_fragments(until)
                continue
            fragment = self._fragments.pop(0)
            if fragment.is_command is not is_command:
                raise ProtocolError("a command set and a data set in the wrong order", 2)
            part += fragment.data
            if len(part) > LONGEST_PART:
                raise ProtocolError(f"a response of more than {LONGEST_PART} bytes")
            if fragment.is_last:
                return bytes(part)

    def _next_fragments(self, until: float) -> list[Fragment]:
        """Return the fragments of the next PDU; they are views of a buffer that the next read overwrites."""
        kind, body = self._read(until)
        if kind == RELEASE_RQ:
            self._pdus.write(RELEASE_RESPONSE)
            self.is_open = False
            raise ConnectionEndedError("the peer released the association")
        if kind != DATA_TF:
            raise ProtocolError(f"a PDU of type {kind} instead of a response", 2)
        return list(fragments(body))

    def _read(self, until: float) -> tuple[int, memoryview]:
        seconds = until - time.monotonic()
        if seconds <= 0:
            raise ConnectionEndedError("the peer did not answer in time")
        self._stream.set_timeout(seconds)
        kind, body = self._pdus.read()
        if kind == ABORT:
            self.is_open = False
            raise AbortedError(bytes(body))
        return kind, body
