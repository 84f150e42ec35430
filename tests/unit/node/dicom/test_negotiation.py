"""What is accepted of a request: as pynetdicom would, and said so that pynetdicom reads it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom import AllStoragePresentationContexts, build_context
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.presentation import negotiate_as_acceptor
from raw_caller import CT, EXPLICIT, IMPLICIT, VERIFICATION, context, item, request

from node.dicom.association_request import calling_title, decode_association_request
from node.dicom.negotiation import encode_acceptance, negotiate
from node.dicom.pdu import ProtocolError
from node.scp.services import LOSSLESS_FIRST, STORAGE_CLASSES, TRANSFER_SYNTAXES, UNCOMPRESSED

SYNTAXES = {VERIFICATION: UNCOMPRESSED, **dict.fromkeys(STORAGE_CLASSES, TRANSFER_SYNTAXES)}

SUPPORTED = [build_context(c.abstract_syntax, list(TRANSFER_SYNTAXES)) for c in AllStoragePresentationContexts]
SUPPORTED.append(build_context(VERIFICATION, list(UNCOMPRESSED)))
ABSTRACT = st.sampled_from([CT, VERIFICATION, "1.2.840.10008.5.1.4.31", "1.2.840.113619.4.2", *sorted(STORAGE_CLASSES)])
SYNTAX = st.sampled_from([*TRANSFER_SYNTAXES, "1.2.840.10008.1.2.4.100", "1.2.3", "1.2.840.113619.5.2"])
OFFERS = st.lists(
    st.tuples(st.integers(0, 127).map(lambda n: 2 * n + 1), ABSTRACT, st.lists(SYNTAX, min_size=1, max_size=6)),
    max_size=20, unique_by=lambda offer: offer[0],
)  # fmt: skip


def call(offers, **options):
    return decode_association_request(
        request([context(n, uid, *syntaxes) for n, uid, syntaxes in offers], **options)[6:]
    )


def proposed_to_pynetdicom(offers):
    pdu = A_ASSOCIATE_RQ()
    pdu.decode(request([context(n, uid, *syntaxes) for n, uid, syntaxes in offers]))
    return pdu.to_primitive().presentation_context_definition_list


@settings(deadline=None)
@given(OFFERS)
def test_results_are_those_of_pynetdicom(offers):
    asked = call(offers)
    ours = negotiate(asked, SYNTAXES)
    theirs, _ = negotiate_as_acceptor(proposed_to_pynetdicom(offers), SUPPORTED)
    assert {n: answer.result for n, answer in ours.items()} == {c.context_id: c.result for c in theirs}
    for context_of_theirs in theirs:
        if context_of_theirs.result == 0:
            assert ours[context_of_theirs.context_id].transfer_syntax == context_of_theirs.transfer_syntax[0]
    followed = negotiate(asked, SYNTAXES, callers_order=True)
    for number, abstract, syntaxes in offers:
        if followed[number].is_accepted:
            taken = UNCOMPRESSED if abstract == VERIFICATION else TRANSFER_SYNTAXES
            assert followed[number].transfer_syntax == next(syntax for syntax in syntaxes if syntax in taken)


@settings(deadline=None)
@given(OFFERS, st.sampled_from([16384, 262_144, 4_194_304]), st.sampled_from(["QCTNODE", "A", "SIXTEEN CHARS AE"]))
def test_pynetdicom_reads_the_acceptance(offers, largest, title):
    asked = call(offers, called=title, calling="SCANNER")
    encoded = encode_acceptance(asked, negotiate(asked, SYNTAXES), largest)
    pdu = A_ASSOCIATE_AC()
    pdu.decode(encoded)
    said = pdu.to_primitive()
    assert (said.called_ae_title, said.calling_ae_title, said.maximum_length_received) == (title, "SCANNER", largest)
    found = {c.context_id: c.result for c in said.presentation_context_definition_results_list}
    assert found == {n: answer.result for n, answer in negotiate(asked, SYNTAXES).items()}


def test_a_request_is_read():
    asked = call([(1, CT, [EXPLICIT, IMPLICIT])], called=" ORTHANC ", calling="CT 1", largest=0, version=3)
    assert (asked.called_ae, asked.calling_ae, asked.max_pdu_length, asked.protocol_version) == (
        "ORTHANC",
        "CT 1",
        0,
        3,
    )
    [offered] = asked.contexts
    assert (offered.id, offered.abstract_syntax) == (1, CT)
    assert offered.transfer_syntaxes == (EXPLICIT, IMPLICIT)


@pytest.mark.parametrize(
    ("abstract", "syntaxes", "result", "chosen"),
    [
        (CT, [IMPLICIT, EXPLICIT], 0, EXPLICIT),
        (CT, ["1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70", IMPLICIT], 0, IMPLICIT),
        (
            CT,
            ["1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.70"],
            0,
            "1.2.840.10008.1.2.4.70",
        ),
        (CT, ["1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.91"], 0, "1.2.840.10008.1.2.4.91"),
        (CT, ["1.2.3", "1.2.840.10008.1.2.4.90"], 0, "1.2.840.10008.1.2.4.90"),
        (CT, ["1.2.3"], 4, "1.2.3"),
        (CT, [], 4, IMPLICIT),
        (VERIFICATION, ["1.2.840.10008.1.2.4.90", EXPLICIT], 0, EXPLICIT),
        (VERIFICATION, ["1.2.840.10008.1.2.4.90"], 4, "1.2.840.10008.1.2.4.90"),
        ("1.2.840.10008.5.1.4.31", [EXPLICIT], 3, EXPLICIT),
        ("1.2.840.113619.4.2", [EXPLICIT], 3, EXPLICIT),
        ("", [EXPLICIT], 3, EXPLICIT),
    ],
)
def test_each_context_is_negotiated_by_itself(abstract, syntaxes, result, chosen):
    answer = negotiate(call([(1, abstract, syntaxes)]), SYNTAXES)[1]
    assert (answer.result, answer.transfer_syntax) == (result, chosen)


def test_lossless_compression_may_be_preferred():
    offered = ["1.2.840.10008.1.2.4.50", EXPLICIT, "1.2.840.10008.1.2.4.90"]
    answer = negotiate(call([(1, CT, offered)]), {CT: LOSSLESS_FIRST})[1]
    assert answer.transfer_syntax == "1.2.840.10008.1.2.4.90"


def test_the_largest_request_fits():
    syntaxes = [f"1.2.840.10008.1.2.4.{n}" for n in range(100, 130)]
    asked = call([(2 * n + 1, CT, [*syntaxes, EXPLICIT]) for n in range(128)])
    answers = negotiate(asked, SYNTAXES)
    assert len(answers) == 128 and {a.transfer_syntax for a in answers.values()} == {EXPLICIT}


BODY = request()[6:]
BROKEN = {
    "nothing": (b"", "of 0 bytes"),
    "a header cut off": (BODY[:67], "of 67 bytes"),
    "cut in a context": (BODY[:120], "item 0x20 has"),
    "an item longer than the request": (BODY + item(0x50, b"")[:2] + b"\xff\xff", "item 0x50 has 0 of 65535 bytes"),
    "cut in the header of an item": (BODY + b"\x50\0", "ends within the header"),
    "garbage": (bytes(range(256)) * 4, "item 0x44 has"),
}


@pytest.mark.parametrize(("body", "words"), BROKEN.values(), ids=BROKEN)
def test_a_request_that_cannot_be_decoded_names_the_rule(body, words):
    with pytest.raises(ProtocolError, match=words) as fault:
        decode_association_request(body)
    assert fault.value.reason == 6


def test_the_calling_title_is_known_even_if_the_request_is_broken():
    assert calling_title(BODY[:120]) == "SCANNER"
    assert calling_title(BODY[:67]) == ""


@settings(deadline=None)
@given(st.binary(max_size=300) | st.tuples(st.integers(0, len(BODY)), st.binary(max_size=30)).map(
    lambda change: BODY[: change[0]] + change[1] + BODY[change[0] + len(change[1]) :]
))  # fmt: skip
def test_any_bytes_are_answered_or_a_protocol_error(body):
    try:
        asked = decode_association_request(body)
    except ProtocolError as fault:
        assert str(fault).isascii() and str(fault).isprintable()
        return
    assert asked.called_ae.isprintable() and asked.calling_ae.isprintable()
    assert encode_acceptance(asked, negotiate(asked, SYNTAXES), 16384)[0] == 2
