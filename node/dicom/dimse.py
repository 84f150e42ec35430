"""Command sets of C-STORE and C-ECHO as bytes (PS3.7 9.3), for the SCP; no other message is to be added here.

Every other DIMSE message goes through pynetdicom's `dimse_messages` (docs/decisions/005-receive-path.md). A command set
is always Implicit VR Little Endian (PS3.7 6.3.1).
"""

import struct
from dataclasses import dataclass

from node.dicom.pdu import ProtocolError
from node.errors import StoreStatus

C_STORE_RQ, C_STORE_RSP, C_ECHO_RQ, C_ECHO_RSP, C_CANCEL_RQ = 0x0001, 0x8001, 0x0030, 0x8030, 0x0FFF
HAS_DATA_SET = {C_STORE_RQ: True, C_ECHO_RQ: False}
NO_DATA_SET = 0x0101
AFFECTED_CLASS, FIELD, MESSAGE_ID, RESPONDED_TO, DATA_SET_TYPE, STATUS, COMMENT, AFFECTED_INSTANCE = (
    0x0002, 0x0100, 0x0110, 0x0120, 0x0800, 0x0900, 0x0902, 0x1000
)  # fmt: skip
MAX_COMMENT = 64  # Error Comment (0000,0902) is an LO
MAX_COMMAND = 16_384  # bytes of a command set; those of C-STORE have about 200
ELEMENT = struct.Struct("<HHI")


@dataclass(frozen=True)
class Request:
    """A request; UIDs as received, without padding."""

    field: int
    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    has_data_set: bool


def decode(command: bytes) -> Request:
    """Decode a command set. Raises ProtocolError."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(command):
        if len(command) - at < ELEMENT.size:
            raise ProtocolError("a command set that ends within an element")
        group, element, length = ELEMENT.unpack_from(command, at)
        at += ELEMENT.size
        if group != 0 or length > len(command) - at:
            raise ProtocolError("bytes that are not a command set")
        found[element] = command[at : at + length]
        at += length
    field = _number(found.get(FIELD))
    return Request(
        field=field,
        # A C-CANCEL has none of its own, only that of the request it cancels (PS3.7 9.3.2.3).
        message_id=_number(found.get(RESPONDED_TO if field == C_CANCEL_RQ else MESSAGE_ID)),
        sop_class_uid=_uid(found.get(AFFECTED_CLASS, b"")),
        sop_instance_uid=_uid(found.get(AFFECTED_INSTANCE, b"")),
        has_data_set=_number(found.get(DATA_SET_TYPE)) != NO_DATA_SET,
    )


def response(request: Request, status: StoreStatus, comment: str = "") -> bytes:
    """Encode the response to a C-STORE or C-ECHO request (PS3.7 9.3.1.2, 9.3.5.2)."""
    elements = [
        (AFFECTED_CLASS, _even(request.sop_class_uid.encode("ascii", "replace"), b"\0")),
        (FIELD, struct.pack("<H", request.field | 0x8000)),
        (RESPONDED_TO, struct.pack("<H", request.message_id)),
        (DATA_SET_TYPE, struct.pack("<H", NO_DATA_SET)),
        (STATUS, struct.pack("<H", status)),
    ]
    if comment:
        elements.append((COMMENT, _even(comment[:MAX_COMMENT].encode("ascii", "replace"), b" ")))
    if request.field == C_STORE_RQ:
        elements.append((AFFECTED_INSTANCE, _even(request.sop_instance_uid.encode("ascii", "replace"), b"\0")))
    body = b"".join(ELEMENT.pack(0, element, len(value)) + value for element, value in elements)
    return ELEMENT.pack(0, 0, 4) + struct.pack("<I", len(body)) + body


def _number(value: bytes | None) -> int:
    if value is None or len(value) != 2:
        raise ProtocolError("a command set without a mandatory element")
    return int.from_bytes(value, "little")


def _uid(value: bytes) -> str:
    return value.decode("ascii", "replace").rstrip("\0 ")


def _even(value: bytes, padding: bytes) -> bytes:
    return value + padding if len(value) % 2 else value
