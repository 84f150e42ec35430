"""A minimal sender that times each response: a socket, one presentation context, objects from a template."""

import socket
import struct
import time
from dataclasses import dataclass
from typing import Self

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom.dsutils import encode

CT = b"1.2.840.10008.5.1.4.1.1.2"
CONTEXT = 1
LARGEST_PDU = 131_072  # for acceptors without a limit; also the maximum that DCMTK sends
COMMAND_END, DATA, DATA_END = 3, 0, 2  # message control header, PS3.8 E.2
UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


def uid(number: int) -> str:
    """Return a UID of 44 characters (PS3.5 B.2)."""
    return f"2.25.1{number:038d}"


@dataclass(frozen=True)
class Template:
    """An encoded data set and the positions of its UIDs: study, series, object."""

    content: bytes
    places: tuple[int, int, int]

    @classmethod
    def of(cls, dataset: Dataset) -> Self:
        """Encode a data set in Explicit VR Little Endian, with room for UIDs."""
        marks = [uid(10**30 + number) for number in range(len(UIDS))]
        for keyword, mark in zip(UIDS, marks, strict=True):
            setattr(dataset, keyword, mark)
        content = encode(dataset, is_implicit_vr=False, is_little_endian=True)
        assert content is not None
        study, series, sop = (content.index(mark.encode()) for mark in marks)
        return cls(content, (study, series, sop))

    def filled(self, *uids: str) -> bytearray:
        """Return the data set with these UIDs of study, series, object."""
        content = bytearray(self.content)
        for place, value in zip(self.places, uids, strict=True):
            content[place : place + len(value)] = value.encode()
        return content


class Association:
    """An association with a receiver on the loopback, for CT in Explicit VR Little Endian, without Nagle."""

    def __init__(self, port: int, called: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(_associate_request(called))
        kind, body = self._pdu()
        assert kind == 2, f"the association was not accepted (PDU type {kind})"
        self._fragment = _fragment_size(body)
        self._message = 0

    def store(self, sop_uid: str, content: bytes | bytearray) -> float:
        """Send an object; return the seconds from its last byte to the response, which must be success."""
        self._message = self._message % 65535 + 1
        parts = [_p_data(COMMAND_END, _store_request(self._message, sop_uid))]
        for begin in range(0, len(content), self._fragment):
            end = begin + self._fragment
            parts.append(_p_data(DATA_END if end >= len(content) else DATA, content[begin:end]))
        whole = b"".join(parts)
        self._socket.sendall(whole)
        begin_wait = time.perf_counter()
        answer = self._command()
        seconds = time.perf_counter() - begin_wait
        status = _element(answer, 0x0900)
        assert status == 0, f"C-STORE was answered with 0x{status:04X}"
        return seconds

    def release(self) -> None:
        """Release the association (PS3.8 9.3.6)."""
        self._socket.sendall(struct.pack(">BBIxxxx", 5, 0, 4))
        kind, _ = self._pdu()
        assert kind == 6, f"the release was answered with PDU type {kind}"
        self._socket.close()

    def _command(self) -> bytes:
        command, last = b"", False
        while not last:
            kind, body = self._pdu()
            assert kind == 4, f"a P-DATA-TF was expected, not PDU type {kind}"
            while body:
                (length,) = struct.unpack(">I", body[:4])
                last = bool(body[5] & 2)
                command, body = command + body[6 : 4 + length], body[4 + length :]
        return command

    def _pdu(self) -> tuple[int, bytes]:
        kind, length = struct.unpack(">BxI", self._exactly(6))
        return kind, self._exactly(length)

    def _exactly(self, size: int) -> bytes:
        got = b""
        while len(got) < size:
            more = self._socket.recv(size - len(got))
            assert more, "the receiver closed the connection"
            got += more
        return got


def _item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(content)) + content


def _associate_request(called: str) -> bytes:
    """Return an A-ASSOCIATE-RQ (PS3.8 9.3.2)."""
    syntaxes = _item(0x30, CT) + _item(0x40, ExplicitVRLittleEndian.encode())
    user = _item(0x51, struct.pack(">I", 16384)) + _item(0x52, b"2.25.2010")
    body = struct.pack(">Hxx16s16s32x", 1, called.ljust(16).encode(), b"RAWSENDER".ljust(16))
    body += _item(0x10, b"1.2.840.10008.3.1.1.1") + _item(0x20, bytes((CONTEXT, 0, 0, 0)) + syntaxes)
    body += _item(0x50, user)
    return struct.pack(">BxI", 1, len(body)) + body


def _fragment_size(accept: bytes) -> int:
    """Return how many bytes of a message fit into one PDU of the acceptor (PS3.8 D.1); checks that CT was accepted."""
    limit, begin = LARGEST_PDU, 68
    while begin < len(accept):
        kind, length = struct.unpack(">BxH", accept[begin : begin + 4])
        content = accept[begin + 4 : begin + 4 + length]
        if kind == 0x21:
            assert content[2] == 0, f"the presentation context was not accepted (result {content[2]})"
        if kind == 0x50:
            begin += 4  # its items follow
            continue
        if kind == 0x51:
            limit = min(struct.unpack(">I", content)[0] or LARGEST_PDU, LARGEST_PDU)
        begin += 4 + length
    return limit - 6


def _p_data(control: int, fragment: bytes | bytearray) -> bytes:
    return struct.pack(">BxIIBB", 4, len(fragment) + 6, len(fragment) + 2, CONTEXT, control) + fragment


def _store_request(message: int, sop_uid: str) -> bytes:
    """Return the command set of a C-STORE-RQ, in Implicit VR Little Endian (PS3.7 6.3.1, 9.3.1.1)."""
    values = {
        0x0002: CT + b"\0" * (len(CT) % 2), 0x0100: b"\x01\0", 0x0110: struct.pack("<H", message),
        0x0700: b"\0\0", 0x0800: b"\x01\0", 0x1000: sop_uid.encode() + b"\0" * (len(sop_uid) % 2),
    }  # fmt: skip
    rest = b"".join(struct.pack("<HHI", 0, number, len(value)) + value for number, value in values.items())
    return struct.pack("<HHII", 0, 0, 4, len(rest)) + rest


def _element(command: bytes, number: int) -> int:
    """Return the value of an element of VR US of a command set."""
    begin = 0
    while begin < len(command):
        group, element, length = struct.unpack("<HHI", command[begin : begin + 8])
        if (group, element) == (0, number):
            return int.from_bytes(command[begin + 8 : begin + 8 + length], "little")
        begin += 8 + length
    raise AssertionError(f"the answer lacks (0000,{number:04X})")
