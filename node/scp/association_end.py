"""What the end of an association tells about its sender: a fault, nothing sent, or CT that could not be sent."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from pydicom.uid import UID

from node.dicom.negotiation import TRANSFER_SYNTAX_UNKNOWN, AnsweredContext
from node.dicom.uids import CT_CLASSES
from node.records.instances import Ending
from node.records.states import Reason

NAMED = 5
"""So many classes or transfer syntaxes are named in a sentence."""
DICOM_ROOT = "1.2.840.10008."
PROPOSE = "let it propose CT Image Storage in Explicit VR Little Endian"


@dataclass(frozen=True)
class AssociationEnd:
    """How an association ended. cause: the fault for which it was aborted, or why it was lost."""

    ending: Ending
    cause: str = ""
    is_fault: bool = False


def finding(
    end: AssociationEnd, answers: Collection[AnsweredContext], responses: int, stored_classes: Collection[str]
) -> tuple[Reason, str] | None:
    """Return what a person should know about an association that has ended: reason and sentence, None for nothing.

    responses: how many requests were answered; stored_classes: the SOP classes of the objects that were stored.
    """
    unsent = _unsent_ct(answers, stored_classes)
    more = f"; {unsent}" if unsent else ""
    if end.is_fault:
        return Reason.PROTOCOL_FAULT, f"the association was aborted because of {end.cause}{more}"
    if responses:
        return (Reason.CONTEXT_REJECTED, unsent) if unsent else None
    if end.cause:
        return (
            Reason.EMPTY_ASSOCIATION,
            f"the association was lost before a C-STORE or C-ECHO request: {end.cause}{more}",
        )
    if any(answer.is_accepted for answer in answers):
        return Reason.EMPTY_ASSOCIATION, f"the association ended without a C-STORE or C-ECHO request{more}"
    offered = _names(answer.abstract_syntax for answer in answers) or "nothing"
    sentence = f"the association offered nothing that this node accepts, only: {offered}{more}"
    return Reason.EMPTY_ASSOCIATION, sentence


def _unsent_ct(answers: Collection[AnsweredContext], stored_classes: Collection[str]) -> str:
    """Return why CT images could not be sent, empty if they could or were not offered.

    Images in a private class count as CT while no CT class is accepted: vendors store CT so.
    """
    if any(answer.is_accepted and answer.abstract_syntax in CT_CLASSES for answer in answers):
        return ""
    if CT_CLASSES & set(stored_classes):
        return ""
    for_syntax = [
        answer for answer in answers
        if answer.abstract_syntax in CT_CLASSES and answer.result == TRANSFER_SYNTAX_UNKNOWN
    ]  # fmt: skip
    if for_syntax:
        syntaxes = _names(syntax for answer in for_syntax for syntax in answer.proposed.transfer_syntaxes)
        classes = _names(answer.abstract_syntax for answer in for_syntax)
        return f"the sender offered {classes} only in transfer syntaxes that are not taken ({syntaxes}): {PROPOSE}"
    private = [answer for answer in answers if not answer.is_accepted and _is_private(answer.abstract_syntax)]
    if private:
        classes = _names(answer.abstract_syntax for answer in private)
        return f"the sender offered classes that are not taken ({classes}) and no CT class: {PROPOSE}"
    return ""


def _is_private(abstract_syntax: str) -> bool:
    return not abstract_syntax.startswith(DICOM_ROOT)


def _names(uids: Iterable[str]) -> str:
    names = sorted({UID(uid).name if uid else "an invalid UID" for uid in uids})
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
