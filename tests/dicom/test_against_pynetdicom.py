"""The node's acceptor and pynetdicom's acceptor get the same bytes and must give the same responses."""

import hashlib
import socket
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom.data
import pytest
import raw_caller as raw
from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pynetdicom import AE, AllStoragePresentationContexts, build_context, build_role, evt
from pynetdicom.dsutils import decode, split_dataset
from pynetdicom.pdu_primitives import AsynchronousOperationsWindowNegotiation, UserIdentityNegotiation
from raw_caller import COMMAND, COMMAND_END, CT, DATA, DATA_END, EXPLICIT, IMPLICIT, VERIFICATION, Caller, p_data, pdv

from node.records.states import JobState
from node.scp.services import TRANSFER_SYNTAXES, UNCOMPRESSED

PLACES = 64


@pytest.fixture(scope="module")
def scp():
    """A pynetdicom SCP with the presentation contexts of the node; it records UIDs and digests of data sets."""
    ae = AE("QCTNODE")
    ae.require_called_aet = True
    ae.maximum_associations = PLACES
    for context in AllStoragePresentationContexts:
        ae.add_supported_context(context.abstract_syntax, TRANSFER_SYNTAXES)
    ae.add_supported_context(VERIFICATION, list(UNCOMPRESSED))
    got = []

    def store(event):
        content = event.request.DataSet.getvalue()
        got.append((str(event.request.AffectedSOPInstanceUID), hashlib.sha256(content).hexdigest()))
        return 0x0000

    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    server.got = got
    server.port = server.server_address[1]
    yield server
    server.shutdown()


@pytest.fixture
def reference(scp):
    scp.got.clear()
    return scp


def digests(node):
    """Return UIDs and digests of the data sets the node has stored."""
    kept = []
    for job in node.ledger.queries.jobs(JobState.RECEIVED):
        for path in node.stored_files(job.id):
            sop_uid, content = raw.data_set(path)
            kept.append((sop_uid, hashlib.sha256(content).hexdigest()))
    return sorted(kept)


def said(port, turns, half_close=False):
    """Send each message after the response to the one before; return the responses."""
    heard = []
    with Caller(port) as caller:
        for number, turn in enumerate(turns, 1):
            caller.send(turn)
            if half_close and number == len(turns):
                caller.socket.shutdown(socket.SHUT_WR)
            found = caller.pdu()
            heard.append("closed" if found is None else _meaning(*found))
            if found is None or found[0] in {3, 6, 7}:
                break
    return heard


def _meaning(kind, body):
    """Return the meaningful content of a PDU."""
    if kind == 2:
        answers = raw.answered_contexts(body)
        # The transfer syntax of a rejected context has no meaning (PS3.8 9.3.3.2).
        return "accepted", {n: (r, s if r == 0 else "") for n, (r, s) in sorted(answers.items())}
    if kind == 3:
        return "rejected", *body[1:4]
    if kind == 4:
        command = decode(BytesIO(body[6:]), is_implicit_vr=True, is_little_endian=True)
        said = {element.keyword: element.value for element in command if element.keyword != "CommandGroupLength"}
        return "answered", said
    return {5: "asks for release", 6: "released", 7: "aborted"}[kind]


def whole(*parts):
    return [b"".join(parts)]


def splintered(sop_uid, content):
    """A C-STORE whose data set comes in fragments of one byte, many to a PDU."""
    pieces = [pdv(1, DATA, content[at : at + 1]) for at in range(len(content) - 1)]
    return whole(
        p_data(pdv(1, COMMAND_END, raw.store_command(sop_uid))),
        *(p_data(*pieces[at : at + 500]) for at in range(0, len(pieces), 500)),
        p_data(pdv(1, DATA_END, content[-1:])),
    )


def in_one_pdu(sop_uid, content):
    command = raw.store_command(sop_uid)
    return whole(
        p_data(
            pdv(1, COMMAND, command[:31]), pdv(1, COMMAND, b""), pdv(1, COMMAND_END, command[31:]),
            pdv(1, DATA, content[:3000]), pdv(1, DATA, b""), pdv(1, DATA_END, content[3000:]),
        )
    )  # fmt: skip


def with_an_empty_end(sop_uid, content):
    command = p_data(pdv(1, COMMAND_END, raw.store_command(sop_uid)))
    return whole(command, p_data(pdv(1, DATA, content)), p_data(pdv(1, DATA_END, b"")))


WAYS = {
    "whole": lambda uid, content: [raw.store(uid, content)],
    "in small fragments": lambda uid, content: [raw.store(uid, content, room=100)],
    "in fragments of one byte": splintered,
    "in one PDU": in_one_pdu,
    "with an empty last fragment": with_an_empty_end,
    "twice": lambda uid, content: [raw.store(uid, content), raw.store(uid, content, 2)],
    "between echoes": lambda uid, content: [raw.echo(65535), raw.store(uid, content, 0), raw.echo(1)],
    "after an echo in its context": lambda uid, content: [raw.echo(1, number=1), raw.store(uid, content, 2)],
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("half_close", [False, True], ids=["", "half-closed"])
def test_a_slice_is_accepted_and_answered_as_by_pynetdicom(node, reference, ct_series, way, half_close):
    sop_uid, content = raw.data_set(ct_series(1)[0])
    turns = [raw.request(), *way(sop_uid, content), *([] if half_close else [raw.RELEASE])]
    ours, theirs = said(node.receiver.port, turns, half_close), said(reference.port, turns, half_close)
    assert ours == theirs or (half_close and theirs[-1] in {"closed", "aborted"})
    assert ours[-1] == "released" or half_close
    assert digests(node) == [(sop_uid, hashlib.sha256(content).hexdigest())]
    assert half_close or set(reference.got) == set(digests(node))


def test_everything_in_one_segment_is_answered_in_order(node, ct_series):
    """pynetdicom aborts a requestor that does not wait for the acceptance; the node processes the bytes in order."""
    sop_uid, content = raw.data_set(ct_series(1)[0])
    with Caller(node.receiver.port) as caller:
        caller.send(raw.request(), raw.echo(1), raw.store(sop_uid, content, 2), raw.echo(3), raw.RELEASE)
        assert caller.pdu()[0] == 2
        assert [caller.answer().MessageIDBeingRespondedTo for _ in range(3)] == [1, 2, 3]
        assert caller.pdu()[0] == 6


@pytest.mark.parametrize("padding", [b"\0", b" "])
def test_padded_uids_are_the_same_uids(node, reference, ct_series, padding):
    sop_uid, content = raw.data_set(ct_series(1)[0])
    command = raw.store_command(sop_uid.encode() + padding * (1 + len(sop_uid) % 2), e1030=b"MOVER ", e1031=7)
    turns = [
        raw.request(), p_data(pdv(1, COMMAND_END, command)) + p_data(pdv(1, DATA_END, content)), raw.RELEASE
    ]  # fmt: skip
    ours = said(node.receiver.port, turns)
    assert ours == said(reference.port, turns)
    assert (ours[1][1]["Status"], ours[1][1]["AffectedSOPInstanceUID"]) == (0, sop_uid)
    assert len(digests(node)) == 1


OFFERS = {
    "one of each": raw.CONTEXTS,
    "the same class twice": (raw.context(1, CT, EXPLICIT), raw.context(255, CT, IMPLICIT)),
    "private": (raw.context(1, "1.2.840.113619.4.2", EXPLICIT), raw.context(3, CT, EXPLICIT)),
    "an unknown syntax": (raw.context(1, CT, "1.2.840.10008.1.2.4.100"), raw.context(3, CT, "1.2.3", EXPLICIT)),
    "echo in RLE": (raw.context(1, VERIFICATION, "1.2.840.10008.1.2.5"),),
    "worklist only": (raw.context(1, "1.2.840.10008.5.1.4.31", IMPLICIT),),
    "nothing": (),
    "padded": (raw.context(1, CT + "\0", EXPLICIT + "\0"),),
    "backwards": (raw.context(9, CT, EXPLICIT), raw.context(7, VERIFICATION, IMPLICIT), raw.context(5, CT, IMPLICIT)),
}  # fmt: skip


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
def test_contexts_are_accepted_as_by_pynetdicom(node, reference, offer):
    for largest in (0, 7, 8, 128, 16384, 2**32 - 1):
        parts = [raw.request(offer, largest=largest), raw.RELEASE]
        assert said(node.receiver.port, parts) == said(reference.port, parts)


@pytest.mark.parametrize("largest", [0, 7, 8, 9, 20, 16384])
def test_responses_fit_into_the_smallest_pdu_of_the_requestor(node, largest):
    with Caller(node.receiver.port).established(largest=largest) as caller:
        caller.send(raw.echo(77), raw.echo(78))
        answer = caller.answer()
        assert (answer.MessageIDBeingRespondedTo, answer.Status) == (77, 0)
        kind, body = caller.pdu()
        assert kind == 4 and (largest == 0 or len(body) <= max(largest, 8)) and len(body) % 2 == 0


REFUSED = {
    "called by another name": {"called": "ORTHANC"},
    "called in lower case": {"called": "qctnode"},
    "another version": {"version": 2},
    "padded name": {"called": " QCTNODE"},
}


@pytest.mark.parametrize("options", REFUSED.values(), ids=REFUSED)
def test_requests_are_rejected_as_by_pynetdicom(node, reference, options):
    parts = [raw.request(**options), raw.RELEASE]
    assert said(node.receiver.port, parts) == said(reference.port, parts)


def test_deviations_from_pynetdicom_that_follow_the_standard(node):
    """PS3.8 9.3.2: of the protocol version only bit 0 counts. Table 9-21: another application context is refused."""
    assert said(node.receiver.port, [raw.request(version=3), raw.RELEASE])[-1] == "released"
    assert said(node.receiver.port, [raw.request(application="1.2.840.10008.3.1.1.2")]) == [("rejected", 1, 1, 2)]
    assert said(node.receiver.port, [raw.request(calling="")]) == [("rejected", 1, 1, 3)]


ENDINGS = {
    "release": [raw.RELEASE],
    "abort": [raw.ABORT],
    "echo and abort": [raw.echo(), raw.ABORT],
    "a second request": [raw.request()],
    "release answered before it was asked": [raw.pdu(6, bytes(4))],
    "an unknown PDU": [raw.pdu(8, b"")],
    "a data set without a command": [p_data(pdv(1, DATA_END, bytes(64)))],
    "an unknown command": [p_data(pdv(1, COMMAND_END, raw.echo_command(e0100=0x7777)))],
    "a command that is none": [p_data(pdv(1, COMMAND_END, b"\x08\0\0\0\xff\xff\xff\xff"))],
}


@pytest.mark.parametrize("parts", ENDINGS.values(), ids=ENDINGS)
def test_associations_end_as_with_pynetdicom(node, reference, parts):
    parts = [raw.request(), *parts]
    ours, theirs = said(node.receiver.port, parts), said(reference.port, parts)
    assert ours == theirs or (ours[-1], theirs[-1]) == ("aborted", "closed")


@pytest.mark.parametrize("number", range(1, 6), ids=["window", "name", "name and code", "ticket", "role"])
def test_optional_items_of_a_request_are_accepted_and_ignored(node, ct_series, number):
    """PS3.7 D.3.3: a requestor whose proposal is not answered continues without it."""
    ae = AE("SCANNER")
    more = []
    if number == 1:
        more.append(AsynchronousOperationsWindowNegotiation())
        more[0].maximum_number_operations_invoked = more[0].maximum_number_operations_performed = 8
    elif number < 5:
        identity = UserIdentityNegotiation()
        identity.user_identity_type, identity.primary_field = min(number - 1, 3), b"someone"
        identity.secondary_field = b"secret" if number == 3 else b""
        more.append(identity)
    else:
        more.append(build_role(CT, scu_role=True, scp_role=True))
    contexts = [build_context(CT, EXPLICIT), build_context(VERIFICATION)]
    association = ae.associate("127.0.0.1", node.receiver.port, contexts=contexts, ae_title="QCTNODE", ext_neg=more)
    assert association.is_established
    assert association.send_c_echo().Status == 0
    status = association.send_c_store(pydicom.dcmread(ct_series(1)[0]))
    assert status.Status == 0
    association.release()
    assert association.is_released


def test_a_request_of_the_largest_size(node, reference):
    classes = [str(context.abstract_syntax) for context in AllStoragePresentationContexts][:128]
    syntaxes = [*(f"1.2.840.10008.1.2.4.{n}" for n in range(100, 114)), *TRANSFER_SYNTAXES[::-1]]
    assert len(syntaxes) == 30
    offer = [raw.context(2 * n + 1, uid, *syntaxes) for n, uid in enumerate(classes)]
    call = raw.request(offer)
    assert len(call) > 90_000
    [(word, answers), last] = said(node.receiver.port, [call, raw.RELEASE])
    assert (word, last, len(answers)) == ("accepted", "released", 128)
    assert {result for result, _ in answers.values()} == {0}
    [(_, theirs), _] = said(reference.port, [call, raw.RELEASE])
    assert answers.keys() == theirs.keys() and {result for result, _ in theirs.values()} == {0}


CORPUS = sorted(Path(pydicom.data.__file__).parent.rglob("*.dcm"))


def same_image(stored, sent):
    """Whether an object that was received before in another transfer syntax holds the same pixels."""
    before, now = dcmread(stored), dcmread(sent)
    differ = before.file_meta.TransferSyntaxUID != now.file_meta.TransferSyntaxUID
    return differ and np.array_equal(before.pixel_array, now.pixel_array)


def test_every_sample_file_of_pydicom_is_accepted_or_refused_with_a_reason(node):
    """Unusual, old, broken and hostile files, each over an association of its own."""
    taken = refused = 0
    for path in CORPUS:
        try:
            meta, start = split_dataset(path)
            offer = (raw.context(1, str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)),)
            sop_uid, content = str(meta.MediaStorageSOPInstanceUID), path.read_bytes()[start:]
        except (AttributeError, ValueError, KeyError, InvalidDicomError):
            continue  # cannot be sent: without file meta information there is nothing to negotiate
        with Caller(node.receiver.port) as caller:
            caller.send(raw.request(offer))
            _, body = caller.pdu()
            if raw.answered_contexts(body).get(1, (3, ""))[0] != 0:
                caller.send(raw.RELEASE)
                continue
            command = raw.store_command(sop_uid, sop_class=str(meta.MediaStorageSOPClassUID))
            caller.send(p_data(pdv(1, COMMAND_END, command)))
            for at in range(0, len(content), 100_000):
                caller.send(p_data(pdv(1, DATA, content[at : at + 100_000])))
            caller.send(p_data(pdv(1, DATA_END, b"")))
            answer = caller.answer()
            caller.send(raw.RELEASE)
            assert caller.pdu()[0] == 6
        before = taken + refused
        if answer.Status == 0:
            taken += 1
            kept = [stored for stored in node.stored() if sop_uid in stored.name]
            assert any(raw.data_set(stored) == (sop_uid, content) or same_image(stored, path) for stored in kept), path
        else:
            refused += 1
            assert answer.ErrorComment and node.ledger.queries.jobs(JobState.DECLINED), before
    assert taken > 40 and taken + refused > 60
    assert not [path for path in node.stored() if path.parent.name == "tmp"]
