"""What real archives answer to an association request, as a table: stored, or refused in words that fit."""

import pytest
from odd_peer import CLASS_UID, MAXIMUM_LENGTH, acceptance, answered, storing
from raw_caller import IMPLICIT, item, pdu

from node.errors import PeerError
from node.scu.storage import send_files


def length(number):
    return item(0x51, number.to_bytes(4, "big")) + CLASS_UID


def only_implicit(rejected):
    """Accept Implicit VR; `rejected` answers the other contexts."""
    return lambda number, syntaxes: answered(number, 0, IMPLICIT) if IMPLICIT in syntaxes else rejected(number)


TAKEN = {
    "plain": {},
    "titles padded with NUL": {"titles": b"PACS".ljust(16, b"\0") + b"US".ljust(16, b"\0")},
    "titles that are no text": {"titles": bytes(range(200, 232))},
    "unknown user item": {"user": MAXIMUM_LENGTH + CLASS_UID + item(0x5F, b"abc")},
    "unknown item": {"more": item(0x66, b"abc")},
    "no class UID": {"user": MAXIMUM_LENGTH},
    "class UID of 70 characters": {"user": MAXIMUM_LENGTH + item(0x52, b"1." + b"2" * 68)},
    "version name of 20 characters": {"user": MAXIMUM_LENGTH + CLASS_UID + item(0x55, b"V" * 20)},
    "version name with NUL": {"user": MAXIMUM_LENGTH + CLASS_UID + item(0x55, b"VER1\0")},
    "version name in Latin-1": {"user": MAXIMUM_LENGTH + CLASS_UID + item(0x55, "Größe".encode("latin1"))},
    "user information cut off": {"user": MAXIMUM_LENGTH + b"\x52\0\0\x40\x31"},
    "no maximum length": {"user": CLASS_UID},
    "maximum length 0": {"user": length(0)},
    "maximum length 8": {"user": length(8)},
    "maximum length 128": {"user": length(128)},
    "maximum length 2^32-1": {"user": length(2**32 - 1)},
    "protocol version 2": {"version": 2},
    "rejected context without a syntax": {"contexts": only_implicit(lambda number: answered(number, 4, None))},
    "rejected context with an empty syntax": {"contexts": only_implicit(lambda number: answered(number, 4, ""))},
    "rejected context left out": {"contexts": only_implicit(lambda _number: b"")},
    "syntax padded with NUL": {"contexts": lambda number, syntaxes: answered(number, 0, syntaxes[0] + "\0")},
    "a context that was not proposed": {"more": answered(99, 0, IMPLICIT) + answered(2, 0, IMPLICIT)},
}


@pytest.mark.parametrize("case", TAKEN)
def test_objects_are_stored_in_spite_of(start_odd, ct_series, case):
    odd, files = start_odd(storing(**TAKEN[case])), ct_series(2)
    outcomes = send_files(odd.peer, files, "QCTNODE", timeout=3)
    assert [sent.reason for sent in outcomes] == ["", ""]
    assert odd.stored == [sent.sop_uid for sent in outcomes]


def refusing(content):
    """Answer with these bytes and close after the caller."""

    def behave(talk, _body):
        talk.say(content)
        talk.read()

    return behave


REFUSED = {
    "no free association": (pdu(3, bytes((0, 2, 3, 2))), True, "rejects the association: it has no association free"),
    "calling title": (pdu(3, bytes((0, 1, 1, 3))), False, "does not know our AE title QCTNODE"),
    "reason 56": (pdu(3, bytes((0, 1, 3, 56))), False, "rejects the association: source 3, reason 56"),
    "reason 56 for now": (pdu(3, bytes((0, 2, 3, 56))), True, "rejects the association: source 3, reason 56"),
    "result 0": (pdu(3, bytes(4)), True, "rejects the association: source 0, reason 0"),
    "rejection cut off": (pdu(3, bytes((0, 1))), False, "rejects the association: source 0, reason 0"),
    "abort by its user": (pdu(7, bytes(4)), True, "aborts the association (A-ABORT, source 0, reason 0"),
    "abort for our bytes": (pdu(7, bytes((0, 0, 2, 4))), False, "source 2, reason 4: unrecognized PDU parameter"),
    "unknown PDU": (pdu(9, b"abcd"), True, "which is no DICOM"),
    "web server": (b"HTTP/1.1 400 Bad Request\r\n\r\n", True, "which is no DICOM"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_is_told_as_what_it_is(start_odd, ct_series, case):
    content, again, words = REFUSED[case]
    with pytest.raises(PeerError) as failure:
        send_files(start_odd(refusing(content)).peer, ct_series(1), "QCTNODE", timeout=3)
    assert words in str(failure.value)
    assert failure.value.retry is again


@pytest.mark.parametrize(
    ("contexts", "words"),
    [
        (lambda number, _syntaxes: answered(number, 1, IMPLICIT), "accepts none of the offered SOP classes"),
        (lambda number, _syntaxes: answered(number, 9, IMPLICIT), "accepts none of the offered SOP classes"),
        (lambda number, _s: answered(number, 0, "1.2.840.10008.1.2.4.70"), "accepts none of the offered SOP classes"),
    ],
    ids=["result 1", "result 9", "a syntax that was not offered"],
)
def test_contexts_that_are_not_accepted(start_odd, ct_series, contexts, words):
    with pytest.raises(PeerError, match=words) as failure:
        send_files(start_odd(storing(contexts=contexts)).peer, ct_series(1), "QCTNODE", timeout=3)
    assert not failure.value.retry


def test_a_maximum_length_in_which_nothing_fits(start_odd, ct_series):
    with pytest.raises(PeerError, match="PDUs of 6 bytes at most") as failure:
        send_files(start_odd(storing(user=length(6))).peer, ct_series(1), "QCTNODE", timeout=3)
    assert not failure.value.retry


def test_a_connection_that_is_closed_without_an_answer(start_odd, ct_series):
    with pytest.raises(PeerError, match="does not answer the association request, but ends it") as failure:
        send_files(start_odd(lambda talk, body: None).peer, ct_series(1), "QCTNODE", timeout=3)
    assert failure.value.retry


def test_an_abort_instead_of_a_response(start_odd, ct_series):
    def behave(talk, body):
        talk.say(acceptance(body))
        talk.store_request()
        talk.say(pdu(7, bytes((0, 0, 2, 2))))

    first, second = send_files(start_odd(behave).peer, ct_series(2), "QCTNODE", timeout=3)
    assert first.retry and "aborts the association (A-ABORT, source 2, reason 2: unexpected PDU)" in first.reason
    assert first.unanswered and not second.unanswered
