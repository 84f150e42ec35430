"""What is said about an association that has ended: a table of endings and offers."""

import pytest
from raw_caller import CT, EXPLICIT, VERIFICATION

from node.dicom.association_request import ProposedContext
from node.dicom.negotiation import AnsweredContext
from node.records.instances import Ending
from node.records.states import Reason
from node.scp.association_end import AssociationEnd, finding

SR, MPEG = "1.2.840.10008.5.1.4.1.1.88.67", "1.2.840.10008.1.2.4.100"
PRIVATE = "1.3.12.2.1107.5.9.1"
RELEASED, LOST = AssociationEnd(Ending.RELEASED), AssociationEnd(Ending.LOST, "nothing received for 60 s")
FAULT = AssociationEnd(Ending.ABORTED, "a PDU of 9 bytes; the maximum is 8", is_fault=True)


def answer(abstract, result=0, syntax=EXPLICIT):
    return AnsweredContext(ProposedContext(1, abstract, (syntax,)), result, syntax)


CT_TAKEN, SR_TAKEN, CT_IN_MPEG, PRIVATE_CLASS = answer(CT), answer(SR), answer(CT, 4, MPEG), answer(PRIVATE, 3)


@pytest.mark.parametrize(
    ("end", "answers", "stored", "code", "words"),
    [
        (RELEASED, [CT_TAKEN], {CT}, None, ""),
        (RELEASED, [CT_TAKEN, PRIVATE_CLASS], {SR}, None, ""),
        (RELEASED, [CT_TAKEN, CT_IN_MPEG], {SR}, None, ""),
        (RELEASED, [SR_TAKEN, CT_IN_MPEG], {SR}, Reason.CONTEXT_REJECTED, "CT Image Storage only in transfer syntaxes"),
        (RELEASED, [SR_TAKEN, PRIVATE_CLASS], {SR}, Reason.CONTEXT_REJECTED, f"classes that are not taken ({PRIVATE})"),
        (RELEASED, [SR_TAKEN, answer("", 3)], {SR}, Reason.CONTEXT_REJECTED, "an invalid UID"),
        (RELEASED, [SR_TAKEN, answer("1.2.840.10008.5.1.4.31", 3)], {SR}, None, ""),
        (RELEASED, [CT_TAKEN], (), Reason.EMPTY_ASSOCIATION, "ended without a C-STORE or C-ECHO request"),
        (
            RELEASED,
            [SR_TAKEN, CT_IN_MPEG],
            (),
            Reason.EMPTY_ASSOCIATION,
            "request; the sender offered CT Image Storage",
        ),
        (RELEASED, [CT_IN_MPEG], (), Reason.EMPTY_ASSOCIATION, "let it propose CT Image Storage in Explicit VR"),
        (RELEASED, [], (), Reason.EMPTY_ASSOCIATION, "only: nothing"),
        (LOST, [CT_TAKEN], (), Reason.EMPTY_ASSOCIATION, "lost before a C-STORE or C-ECHO request: nothing received"),
        (LOST, [CT_TAKEN], {CT}, None, ""),
        (FAULT, [CT_TAKEN], (), Reason.PROTOCOL_FAULT, "aborted because of a PDU of 9 bytes; the maximum is 8"),
        (FAULT, [CT_TAKEN], {CT}, Reason.PROTOCOL_FAULT, "aborted because of a PDU of 9 bytes"),
    ],
)
def test_what_is_said(end, answers, stored, code, words):
    found = finding(end, answers, len(stored), stored)
    assert (found or (None,))[0] == code
    assert words in (found or ("", ""))[1]


def test_an_echo_does_not_hide_that_ct_was_rejected():
    code, _ = finding(RELEASED, [answer(VERIFICATION), CT_IN_MPEG], 1, ())
    assert code == Reason.CONTEXT_REJECTED


def test_only_some_names_are_listed():
    _, sentence = finding(RELEASED, [answer(f"{PRIVATE}.{n}", 3) for n in range(9)], 1, {SR})
    assert "and 4 more" in sentence
