"""A requestor that sends any bytes a test needs: PDUs (PS3.8 9.3) and command sets (PS3.7 6.3) built by hand."""

import socket
import struct
from io import BytesIO

from pynetdicom.dsutils import decode

CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
APPLICATION = "1.2.840.10008.3.1.1.1"
C_STORE_RQ, C_ECHO_RQ, NO_DATA_SET = 0x0001, 0x0030, 0x0101
DATA, COMMAND, DATA_END, COMMAND_END = range(4)  # message control header, PS3.8 E.2


def item(kind, content):
    return struct.pack(">BxH", kind, len(content)) + content


def context(number, abstract, *syntaxes):
    inner = item(0x30, abstract.encode()) + b"".join(item(0x40, syntax.encode()) for syntax in syntaxes)
    return item(0x20, bytes((number, 0, 0, 0)) + inner)


CONTEXTS = (context(1, CT, EXPLICIT), context(3, VERIFICATION, IMPLICIT))


def pdu(kind, body, length=None):
    return struct.pack(">BxI", kind, len(body) if length is None else length) + body


def request(
    contexts=CONTEXTS, *, called="QCTNODE", calling="SCANNER", application=APPLICATION, largest=16384, version=1,
    more=b"",
):  # fmt: skip
    """Return an A-ASSOCIATE-RQ; more: further user information items."""
    body = struct.pack(">Hxx16s16s32x", version, called.ljust(16).encode(), calling.ljust(16).encode())
    body += item(0x10, application.encode()) + b"".join(contexts)
    body += item(0x50, item(0x51, struct.pack(">I", largest)) + item(0x52, b"1.2.3") + more)
    return pdu(1, body)


RELEASE, ABORT = pdu(5, bytes(4)), pdu(7, bytes(4))


def pdv(number, control, data, length=None):
    return struct.pack(">IBB", len(data) + 2 if length is None else length, number, control) + data


def p_data(*values):
    return pdu(4, b"".join(values))


def elements(values, *, group_length=None):
    """Encode a command set; values: element -> int (US), str (UI) or encoded bytes."""
    body = b""
    for number, value in sorted(values.items()):
        raw = struct.pack("<H", value) if isinstance(value, int) else value
        raw = raw + "\0" * (len(raw) % 2) if isinstance(raw, str) else raw
        raw = raw.encode() if isinstance(raw, str) else raw
        body += struct.pack("<HHI", 0, number, len(raw)) + raw
    return struct.pack("<HHII", 0, 0, 4, len(body) if group_length is None else group_length) + body


def echo_command(message=1, **changes):
    return elements({0x0002: VERIFICATION, 0x0100: C_ECHO_RQ, 0x0110: message, 0x0800: NO_DATA_SET} | _numbers(changes))


def store_command(sop_uid, message=1, sop_class=CT, **changes):
    values = {0x0002: sop_class, 0x0100: C_STORE_RQ, 0x0110: message, 0x0700: 0, 0x0800: 1, 0x1000: sop_uid}
    return elements(values | _numbers(changes))


def _numbers(changes):
    """Turn `e0110=7` into element 0x0110."""
    return {int(name[1:], 16): value for name, value in changes.items()}


def echo(message=1, number=3):
    return p_data(pdv(number, COMMAND_END, echo_command(message)))


def store(sop_uid, data_set, message=1, number=1, room=16378):
    """Return a C-STORE request in PDUs with at most this number of bytes of the data set each."""
    pieces = [data_set[at : at + room] for at in range(0, len(data_set), room)] or [b""]
    parts = [p_data(pdv(number, COMMAND_END, store_command(sop_uid, message)))]
    parts += [p_data(pdv(number, DATA, piece)) for piece in pieces[:-1]]
    return b"".join([*parts, p_data(pdv(number, DATA_END, pieces[-1]))])


class Caller:
    """A connection to a node; every wait ends after `patience` seconds."""

    def __init__(self, port, patience=20.0, source="127.0.0.1"):
        self.socket = socket.create_connection(("127.0.0.1", port), patience, source_address=(source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, *parts):
        self.socket.sendall(b"".join(parts))

    def pdu(self):
        """Return type and body of the next PDU, None if the node has closed the connection."""
        head = self._exactly(6)
        if head is None:
            return None
        kind, length = struct.unpack(">BxI", head)
        return kind, self._exactly(length)

    def established(self, *arguments, **options):
        """Request an association, which must be accepted; return self."""
        self.send(request(*arguments, **options))
        kind, _ = self.pdu() or (None, b"")
        assert kind == 2, f"no association: PDU of type {kind}"
        return self

    def answer(self):
        """Return the next command set, read by pydicom."""
        command, last = b"", False
        while not last:
            kind, body = self.pdu()
            assert kind == 4, f"PDU of type {kind}: {body.hex()}"
            while body:
                (length,) = struct.unpack(">I", body[:4])
                last = bool(body[5] & 2)
                command, body = command + body[6 : 4 + length], body[4 + length :]
        return decode(BytesIO(command), is_implicit_vr=True, is_little_endian=True)

    def ending(self):
        """Return the types and bodies of all PDUs until the node closes the connection."""
        said = []
        while (found := self.pdu()) is not None:
            said.append((found[0], found[1].hex()))
        return said

    def reset(self):
        """Close the connection with a TCP reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.close()

    def _exactly(self, size):
        got = bytearray()
        while len(got) < size:
            try:
                more = self.socket.recv(min(size - len(got), 1 << 20))
            except ConnectionResetError:
                return None
            if not more:
                return None
            got += more
        return bytes(got)


def answered_contexts(body):
    """Return context id -> (result, transfer syntax) of the body of an A-ASSOCIATE-AC."""
    answers, at = {}, 68
    while at < len(body):
        kind, length = struct.unpack(">BxH", body[at : at + 4])
        content = body[at + 4 : at + 4 + length]
        if kind == 0x21:
            answers[content[0]] = (content[2], content[8:].decode().rstrip("\0"))
        at += 4 + length
    return answers


def data_set(path):
    """Return SOP Instance UID and the encoded data set of a file."""
    from pynetdicom.dsutils import split_dataset

    meta, start = split_dataset(path)
    return str(meta.MediaStorageSOPInstanceUID), path.read_bytes()[start:]
