"""Answers to association requests (PS3.8 9.3.3): which contexts are accepted, and in which transfer syntax."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID, PYNETDICOM_IMPLEMENTATION_VERSION

from node.dicom.association_request import (
    APPLICATION_CONTEXT,
    ITEM,
    MAXIMUM_LENGTH,
    TRANSFER_SYNTAX,
    USER_INFORMATION,
    AssociationRequest,
    ProposedContext,
)
from node.dicom.pdu import ASSOCIATE_AC, HEADER

DICOM_APPLICATION = "1.2.840.10008.3.1.1.1"
"""The only application context (PS3.7 A.2.1)."""
ACCEPTED, ABSTRACT_SYNTAX_UNKNOWN, TRANSFER_SYNTAX_UNKNOWN = 0, 3, 4  # PS3.8 table 9-18
ANSWERED_CONTEXT, IMPLEMENTATION_CLASS, IMPLEMENTATION_VERSION = 0x21, 0x52, 0x55


@dataclass(frozen=True)
class AnsweredContext:
    """The answer to a proposed presentation context; the transfer syntax of a rejected one has no meaning."""

    proposed: ProposedContext
    result: int
    transfer_syntax: str

    @property
    def is_accepted(self) -> bool:
        """Whether objects may be sent in it."""
        return self.result == ACCEPTED

    @property
    def abstract_syntax(self) -> str:
        """The SOP class it is for; empty if the proposed one was no valid UID."""
        return self.proposed.abstract_syntax


def negotiate(
    request: AssociationRequest, accepted_syntaxes: Mapping[str, Sequence[str]], *, callers_order: bool = False
) -> dict[int, AnsweredContext]:
    """Answer each proposed context by its id (PS3.8 9.3.3.2).

    accepted_syntaxes: the transfer syntaxes of each abstract syntax that is accepted, the preferred one first.
    callers_order: choose the first of the caller's syntaxes instead.
    """
    answers = {}
    for proposed in request.contexts:
        ours, theirs = accepted_syntaxes.get(proposed.abstract_syntax), proposed.transfer_syntaxes
        common = [syntax for syntax in ours or () if syntax in theirs]
        if callers_order:
            common.sort(key=theirs.index)
        result = ABSTRACT_SYNTAX_UNKNOWN if ours is None else ACCEPTED if common else TRANSFER_SYNTAX_UNKNOWN
        chosen = (*common, *theirs, str(ImplicitVRLittleEndian))[0]
        answers[proposed.id] = AnsweredContext(proposed, result, chosen)
    return answers


def encode_acceptance(
    request: AssociationRequest, answers: Mapping[int, AnsweredContext], max_pdu_length: int
) -> bytes:
    """Return the A-ASSOCIATE-AC PDU; max_pdu_length: of the PDUs the peer may send."""
    contexts = [
        _item(
            ANSWERED_CONTEXT,
            bytes((number, 0, answer.result, 0)) + _item(TRANSFER_SYNTAX, _text(answer.transfer_syntax)),
        )
        for number, answer in answers.items()
    ]
    user = (
        _item(MAXIMUM_LENGTH, struct.pack(">I", max_pdu_length))
        + _item(IMPLEMENTATION_CLASS, _text(PYNETDICOM_IMPLEMENTATION_UID))
        + _item(IMPLEMENTATION_VERSION, _text(PYNETDICOM_IMPLEMENTATION_VERSION))
    )
    body = b"".join(
        (
            struct.pack(">H2x", 1),
            request.echoed,
            _item(APPLICATION_CONTEXT, _text(DICOM_APPLICATION)),
            *contexts,
            _item(USER_INFORMATION, user),
        )
    )
    return HEADER.pack(ASSOCIATE_AC, len(body)) + body


def _item(kind: int, content: bytes) -> bytes:
    return ITEM.pack(kind, len(content)) + content


def _text(value: str) -> bytes:
    return value.encode("ascii")
