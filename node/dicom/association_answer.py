"""Encodes an association request and reads what a peer answers (PS3.8 9.3), with the small faults of real archives.

Items of an unknown type are ignored (PS3.8 9.3.1); what is cut off or breaks a rule counts as not accepted.
pynetdicom drops the whole association instead.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID, PYNETDICOM_IMPLEMENTATION_VERSION

from node.dicom.association_request import (
    ABSTRACT_SYNTAX,
    APPLICATION_CONTEXT,
    CONTEXT_HEADER,
    ITEM,
    MAXIMUM_LENGTH,
    PRESENTATION_CONTEXT,
    TRANSFER_SYNTAX,
    USER_INFORMATION,
)
from node.dicom.negotiation import ANSWERED_CONTEXT, DICOM_APPLICATION, IMPLEMENTATION_CLASS, IMPLEMENTATION_VERSION
from node.dicom.pdu import ASSOCIATE_RQ, HEADER

FIXED = struct.Struct(">H2x16s16s32x")  # protocol version, called and calling AE title, reserved
UNSTATED_LENGTH = 16_384
"""Taken for the maximum length of a peer that states none, although PS3.8 D.1 demands it: every known one reads it."""

Offer = tuple[str, str]
"""SOP class and transfer syntax of a proposed presentation context."""


@dataclass(frozen=True)
class Acceptance:
    """An accepted association. contexts: context id -> the accepted offer. max_length: of our PDUs, 0 = any."""

    contexts: dict[int, Offer]
    max_length: int


@dataclass(frozen=True)
class AssociationRejected:
    """A rejected association (PS3.8 9.3.4), with numbers that need not be in the standard."""

    result: int
    source: int
    reason: int


def encode_request(calling: str, called: str, offers: Sequence[Offer], max_length: int) -> bytes:
    """Return the A-ASSOCIATE-RQ PDU; the offers have the context ids 1, 3, 5, ..."""
    contexts = [
        _item(
            PRESENTATION_CONTEXT,
            bytes((2 * number + 1, 0, 0, 0)) + _text(ABSTRACT_SYNTAX, sop_class) + _text(TRANSFER_SYNTAX, syntax),
        )
        for number, (sop_class, syntax) in enumerate(offers)
    ]
    user = (
        _item(MAXIMUM_LENGTH, struct.pack(">I", max_length))
        + _text(IMPLEMENTATION_CLASS, PYNETDICOM_IMPLEMENTATION_UID)
        + _text(IMPLEMENTATION_VERSION, PYNETDICOM_IMPLEMENTATION_VERSION)
    )
    titles = (called.encode("ascii").ljust(16), calling.encode("ascii").ljust(16))
    body = FIXED.pack(1, *titles) + _text(APPLICATION_CONTEXT, DICOM_APPLICATION)
    body += b"".join(contexts) + _item(USER_INFORMATION, user)
    return HEADER.pack(ASSOCIATE_RQ, len(body)) + body


def decode_acceptance(body: bytes, offers: Sequence[Offer]) -> Acceptance:
    """Read the body of an A-ASSOCIATE-AC PDU; a context answered with a syntax that was not offered is not accepted."""
    contexts: dict[int, Offer] = {}
    max_length = UNSTATED_LENGTH
    for kind, content in _items(body[FIXED.size :]):
        if kind == ANSWERED_CONTEXT and len(content) >= CONTEXT_HEADER:
            number, result = content[0], content[2]
            syntaxes = [_uid(value) for inner, value in _items(content[CONTEXT_HEADER:]) if inner == TRANSFER_SYNTAX]
            index, even = divmod(number - 1, 2)
            if not even and 0 <= index < len(offers) and result == 0 and syntaxes == [offers[index][1]]:
                contexts[number] = offers[index]
        elif kind == USER_INFORMATION:
            stated = [value for inner, value in _items(content) if inner == MAXIMUM_LENGTH and len(value) == 4]
            max_length = int.from_bytes(stated[0], "big") if stated else UNSTATED_LENGTH
    return Acceptance(contexts, max_length)


def decode_rejection(body: bytes) -> AssociationRejected:
    """Read the body of an A-ASSOCIATE-RJ PDU; numbers that are missing are 0."""
    padded = bytes(body[:4]).ljust(4, b"\0")
    return AssociationRejected(*padded[1:])


def decode_abort(body: bytes) -> tuple[int, int]:
    """Return source and reason of an A-ABORT PDU (PS3.8 9.3.8); numbers that are missing are 0."""
    padded = bytes(body[:4]).ljust(4, b"\0")
    return padded[2], padded[3]


def _items(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and content of each item, up to the first that is cut off."""
    at = 0
    while at + ITEM.size <= len(content):
        kind, length = ITEM.unpack_from(content, at)
        at += ITEM.size
        if length > len(content) - at:
            return
        yield kind, content[at : at + length]
        at += length


def _uid(raw: bytes) -> str:
    return raw.decode("ascii", "replace").strip("\0 ")


def _item(kind: int, content: bytes) -> bytes:
    return ITEM.pack(kind, len(content)) + content


def _text(kind: int, value: str) -> bytes:
    return _item(kind, value.encode("ascii"))
