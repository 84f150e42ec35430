"""Decodes association requests (PS3.8 9.3.2), with the small faults that real senders make.

Items of an unknown type are ignored (PS3.8 9.3.1). A context that breaks a rule is kept without an abstract syntax, so
that it alone is rejected; pynetdicom refuses the whole request instead.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from node.dicom.pdu import ProtocolError
from node.dicom.uids import valid_uid

FIXED = struct.Struct(">H2x16s16s32s")  # protocol version, called and calling AE title, reserved
ITEM = struct.Struct(">BxH")
APPLICATION_CONTEXT, PRESENTATION_CONTEXT, ABSTRACT_SYNTAX, TRANSFER_SYNTAX = 0x10, 0x20, 0x30, 0x40
USER_INFORMATION, MAXIMUM_LENGTH = 0x50, 0x51
CONTEXT_HEADER = 4  # bytes before the items of a presentation context: its id and three reserved ones


@dataclass(frozen=True)
class ProposedContext:
    """A proposed presentation context; syntaxes that are no valid UID are left out, the abstract one is empty then."""

    id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True)
class AssociationRequest:
    """An association request.

    contexts: one for each id, the first. max_pdu_length: of the PDUs we may send, 0 = no limit. echoed: titles and
    reserved bytes as received, which the acceptance repeats (PS3.8 9.3.3).
    """

    protocol_version: int
    application_context: str
    called_ae: str
    calling_ae: str
    contexts: tuple[ProposedContext, ...]
    max_pdu_length: int
    echoed: bytes


def calling_title(body: bytes) -> str:
    """Return the calling AE title of a request that may be broken, empty if it ends before that."""
    return _title(FIXED.unpack_from(body)[2]) if len(body) >= FIXED.size else ""


def decode_association_request(body: bytes) -> AssociationRequest:
    """Decode the body of an A-ASSOCIATE-RQ PDU. Raises ProtocolError, which names the rule that it breaks."""
    if len(body) < FIXED.size:
        raise ProtocolError(f"an association request of {len(body)} bytes; it has {FIXED.size} at least", 6)
    version, called, calling, _ = FIXED.unpack_from(body)
    application, max_pdu_length = "", 0
    contexts: dict[int, ProposedContext] = {}
    for kind, content in _items(body[FIXED.size :]):
        if kind == APPLICATION_CONTEXT:
            application = _uid(content)
        elif kind == PRESENTATION_CONTEXT and len(content) >= CONTEXT_HEADER:
            context = _context(content)
            contexts.setdefault(context.id, context)
        elif kind == USER_INFORMATION:
            max_pdu_length = _max_pdu_length(content)
    return AssociationRequest(
        protocol_version=version,
        application_context=application,
        called_ae=_title(called),
        calling_ae=_title(calling),
        contexts=tuple(contexts.values()),
        max_pdu_length=max_pdu_length,
        echoed=body[4 : FIXED.size],
    )


def _items(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and content of each item. Raises ProtocolError when one is longer than what is there."""
    at = 0
    while at < len(content):
        if len(content) - at < ITEM.size:
            raise ProtocolError("an association request that ends within the header of an item", 6)
        kind, length = ITEM.unpack_from(content, at)
        at += ITEM.size
        if length > len(content) - at:
            left = len(content) - at
            raise ProtocolError(f"an association request whose item 0x{kind:02X} has {left} of {length} bytes", 6)
        yield kind, content[at : at + length]
        at += length


def _context(content: bytes) -> ProposedContext:
    abstract, transfer = [], []
    try:
        for kind, value in _items(content[CONTEXT_HEADER:]):
            if kind == ABSTRACT_SYNTAX:
                abstract.append(_uid(value))
            elif kind == TRANSFER_SYNTAX:
                transfer.append(_uid(value))
    except ProtocolError:  # this context alone is rejected
        abstract = []
    valid = [uid for uid in abstract if valid_uid(uid)]
    syntaxes = tuple(uid for uid in transfer if valid_uid(uid))
    return ProposedContext(content[0], valid[0] if len(valid) == len(abstract) == 1 else "", syntaxes)


def _max_pdu_length(content: bytes) -> int:
    """Return the maximum length of the user information; 0, which means no limit, if it is not there (PS3.8 D.1)."""
    try:
        for kind, value in _items(content):
            if kind == MAXIMUM_LENGTH and len(value) == 4:
                return int.from_bytes(value, "big")
    except ProtocolError:  # the items behind it say nothing that the node needs
        return 0
    return 0


def _title(raw: bytes) -> str:
    """Return an AE title without padding and control characters; a NUL ends it."""
    return "".join(c for c in raw.split(b"\0")[0].decode("latin-1") if c.isprintable()).strip()


def _uid(raw: bytes) -> str:
    return raw.decode("ascii", "replace").strip("\0 ")
