"""Command sets of the requests that the node makes, and what it needs of their responses (PS3.7 9.3)."""

import struct
from dataclasses import dataclass

from node.dicom.dimse import (
    AFFECTED_CLASS,
    AFFECTED_INSTANCE,
    C_ECHO_RQ,
    C_STORE_RQ,
    DATA_SET_TYPE,
    ELEMENT,
    FIELD,
    MESSAGE_ID,
    NO_DATA_SET,
    STATUS,
)
from node.dicom.pdu import ProtocolError

C_FIND_RQ = 0x0020
PRIORITY = 0x0700
MEDIUM = 0
DATA_SET = 0x0001


@dataclass(frozen=True)
class Response:
    """A response. field: of its request, with 0x8000."""

    field: int
    status: int
    has_data_set: bool


def encode_request(field: int, message_id: int, sop_class_uid: str, sop_instance_uid: str = "") -> bytes:
    """Return the command set of a C-ECHO, C-STORE or C-FIND request."""
    elements = [
        (AFFECTED_CLASS, _uid(sop_class_uid)),
        (FIELD, struct.pack("<H", field)),
        (MESSAGE_ID, struct.pack("<H", message_id)),
    ]
    if field != C_ECHO_RQ:
        elements.append((PRIORITY, struct.pack("<H", MEDIUM)))
    elements.append((DATA_SET_TYPE, struct.pack("<H", NO_DATA_SET if field == C_ECHO_RQ else DATA_SET)))
    if field == C_STORE_RQ:
        elements.append((AFFECTED_INSTANCE, _uid(sop_instance_uid)))
    body = b"".join(ELEMENT.pack(0, element, len(value)) + value for element, value in elements)
    return ELEMENT.pack(0, 0, 4) + struct.pack("<I", len(body)) + body


def decode_response(command: bytes) -> Response:
    """Read a command set. Raises ProtocolError when it is none, or has no status."""
    found: dict[int, bytes] = {}
    at = 0
    while len(command) - at >= ELEMENT.size:
        group, element, length = ELEMENT.unpack_from(command, at)
        at += ELEMENT.size
        if group != 0 or length > len(command) - at:
            raise ProtocolError("bytes that are not a command set")
        found[element] = command[at : at + length]
        at += length
    if any(len(found.get(element, b"")) != 2 for element in (FIELD, STATUS)):
        raise ProtocolError("a response without a status")
    kind = int.from_bytes(found.get(DATA_SET_TYPE, NO_DATA_SET.to_bytes(2, "little")), "little")
    return Response(
        int.from_bytes(found[FIELD], "little"), int.from_bytes(found[STATUS], "little"), kind != NO_DATA_SET
    )


def _uid(uid: str) -> bytes:
    value = uid.encode("ascii", "replace")
    return value + b"\0" * (len(value) % 2)
