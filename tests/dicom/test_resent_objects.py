"""Objects that come again over the network: encoded otherwise they are the same, for another patient they are not."""

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from node.errors import LedgerError, StoreStatus
from node.ledger.resends import Resends
from node.records.jobs import Decision
from node.records.states import JobState, Reason


def again(path, syntax=None, **values):
    ds = dcmread(path)
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    if syntax == RLELossless:
        ds.compress(RLELossless, generate_instance_uid=False)
    elif syntax is not None:
        ds.file_meta.TransferSyntaxUID = syntax
    ds.save_as(path, enforce_file_format=True)
    return path


def refusals(node):
    return [job.code for job in node.ledger.queries.jobs(JobState.DECLINED)]


def test_the_same_slice_in_another_uncompressed_syntax_is_a_duplicate(node, ct_series):
    path = ct_series(1)[0]
    syntax = dcmread(path).file_meta.TransferSyntaxUID
    assert node.send(path)[0].ok
    files = node.stored()
    other = ImplicitVRLittleEndian if syntax == ExplicitVRLittleEndian else ExplicitVRLittleEndian
    assert node.send(again(path, other))[0].ok
    [job] = node.ledger.queries.jobs(JobState.RECEIVED)
    assert (job.instances, job.duplicates, refusals(node)) == (1, 1, [])
    assert node.stored() == files, "the second file is not needed"


def test_other_pixels_in_another_syntax_are_other_content(node, ct_series):
    path = ct_series(1)[0]
    syntax = dcmread(path).file_meta.TransferSyntaxUID
    assert node.send(path)[0].ok
    other = ImplicitVRLittleEndian if syntax == ExplicitVRLittleEndian else ExplicitVRLittleEndian
    assert node.send(again(path, other, PixelData=bytes(len(dcmread(path).PixelData))))[0].ok
    assert refusals(node) == [Reason.DIFFERENT_CONTENT]


def test_the_same_slice_compressed_without_loss_is_a_duplicate(node, ct_series):
    path = ct_series(1)[0]
    assert node.send(path)[0].ok
    assert node.send(again(path, RLELossless))[0].ok
    [job] = node.ledger.queries.jobs(JobState.RECEIVED)
    assert (job.instances, job.duplicates, refusals(node)) == (1, 1, [])


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, RLELossless])
def test_the_same_pixels_with_another_intercept_are_other_content(node, ct_series, syntax):
    path = ct_series(1)[0]
    first = {ImplicitVRLittleEndian, ExplicitVRLittleEndian} - {syntax}
    assert node.send(again(path, first.pop()))[0].ok
    files = node.stored()
    assert node.send(again(path, syntax, RescaleIntercept=str(dcmread(path).RescaleIntercept - 24)))[0].ok
    assert refusals(node) == [Reason.DIFFERENT_CONTENT]
    assert len(node.stored()) == len(files) + 1, "what was acknowledged is kept"


def test_a_corrected_patient_opens_a_revision_with_the_later_objects(node, ct_series):
    paths = ct_series(3)
    assert all(answer.ok for answer in node.send(*paths))
    [first] = node.ledger.queries.jobs(JobState.RECEIVED)
    node.ledger.decisions.apply(first.id, Decision(JobState.COMPLETE))
    for path in paths:
        again(path, PatientID="RIGHT", PatientName="Right^Person")
    assert all(answer.ok for answer in node.send(*paths))
    [new] = node.ledger.queries.jobs(JobState.RECEIVED)
    assert (new.revision, new.instances, refusals(node)) == (2, 3, [])
    assert {dcmread(path).PatientID for path in node.stored_files(new.id)} == {"RIGHT"}
    assert [job.evidence.corrected for job in node.ledger.decisions.receiving()] == [3]


@pytest.mark.parametrize("first", [True, False])
def test_slices_of_two_patients_in_one_series_are_told_apart(node, ct_series, first):
    paths = ct_series(4)
    for path in paths[:2] if first else paths[2:]:
        again(path, PatientID="OTHER")
    node.send(*paths)
    [job] = node.ledger.queries.jobs(JobState.RECEIVED)
    assert len({header.identity for header in node.ledger.instances.headers_of(job.id)}) == 2


def test_a_correction_that_could_not_be_settled_is_settled_when_it_is_sent_again(node, ct_series, monkeypatch):
    """The node may be killed, too, between the record of the object and what follows from it."""
    paths = ct_series(2)
    node.send(*paths)
    [first] = node.ledger.queries.jobs(JobState.RECEIVED)
    node.ledger.decisions.apply(first.id, Decision(JobState.COMPLETE))
    for path in paths:
        again(path, PatientID="RIGHT")
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(Resends, "correct", locked)
        assert not any(answer.ok for answer in node.send(*paths))
    assert all(answer.ok for answer in node.send(*paths))
    [new] = node.ledger.queries.jobs(JobState.RECEIVED)
    assert (new.revision, refusals(node)) == (2, [])
    assert {dcmread(path).PatientID for path in node.stored_files(new.id)} == {"RIGHT"}
    assert len(node.stored()) == 4


def test_another_encoding_that_could_not_be_settled_is_removed_when_it_is_sent_again(node, ct_series, monkeypatch):
    path = ct_series(1)[0]
    node.send(path)
    files = node.stored()
    other = {ImplicitVRLittleEndian, ExplicitVRLittleEndian} - {dcmread(path).file_meta.TransferSyntaxUID}
    again(path, other.pop())
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(Resends, "forget", locked)
        assert not node.send(path)[0].ok
    assert node.send(path)[0].ok
    assert node.stored() == files


def locked(*_arguments):
    raise LedgerError("the ledger does not answer: database is locked", retry=True, status=StoreStatus.OUT_OF_RESOURCES)
