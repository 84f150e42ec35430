"""Files of the inbox and rows of the ledger are reconciled: complete files are adopted, missing ones reported."""

import hashlib
import logging
import os
import shutil
import struct
from dataclasses import replace

import pytest
from ct_factory import CtSpec, write_own_series
from pydicom import dcmread
from pynetdicom.dsutils import split_dataset
from senders import association

from node.dicom.headers import file_header
from node.errors import InboxError, LedgerError, StoreStatus
from node.files.reconcile import FINDER, Reconciled, reconcile
from node.ledger import Ledger
from node.records.instances import Arrival, Ending, Outcome
from node.records.jobs import Decision
from node.records.states import JobState, Reason

S = JobState


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    (folder / "inbox" / "tmp").mkdir(parents=True)
    return folder


@pytest.fixture
def ledger(data, empty_ledger):
    shutil.copy(empty_ledger, data)
    opened = Ledger.open(f"sqlite:///{data}/ledger.sqlite3", data)
    yield opened
    opened.close()


@pytest.fixture
def files(tmp_path):
    """Four slices of one series, as a sender has them."""
    return write_own_series(tmp_path / "sender", CtSpec(shape=(4, 8, 8)))


def kept(data, file, token="0a1b2c3d", spoil=lambda content: content, digits=16):
    """Put a file where the receiver puts it; return what the receiver would write down of it."""
    meta, start = split_dataset(file)
    content = file.read_bytes()
    digest = hashlib.sha256(str(meta.TransferSyntaxUID).encode() + content[start:]).hexdigest()
    header = file_header(file)
    name = f"{header.sop_uid}-{digest[:digits]}" + (f"-{token}.dcm" if digits == 16 else ".dcm")
    key = f"inbox/{header.study_uid}/{header.series_uid}/{name}"
    path = data / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(spoil(content))
    return Arrival(header, str(meta.TransferSyntaxUID), key, digest, len(content), association())


def received(ledger, data, files, **how):
    arrivals = [kept(data, file, **how) for file in files]
    assert set(ledger.instances.record_all(arrivals)) == {Outcome.NEW}
    for arrival in arrivals:
        ledger.associations.end(arrival.association.id, Ending.RELEASED)
    return arrivals


def only_job(ledger):
    [job] = ledger.queries.jobs()
    return job


def changed(file, folder):
    """Write the same object with one other attribute; return its file."""
    dataset = dcmread(file)
    dataset.SeriesDescription = "another"
    folder.mkdir(exist_ok=True)
    dataset.save_as(folder / file.name)
    return folder / file.name


def test_files_and_rows_that_agree_are_not_changed(ledger, data, files):
    received(ledger, data, files[:3])
    received(ledger, data, files[3:], digits=12)  # as the first version named them
    before = ledger.queries.jobs()
    found = reconcile(ledger, data)
    assert found == Reconciled()
    assert str(found) == "the inbox and the ledger agree"
    assert ledger.queries.jobs() == before


def test_an_empty_data_folder_agrees(ledger, tmp_path):
    assert reconcile(ledger, tmp_path / "nowhere") == Reconciled()


def test_temporary_files_are_removed_whatever_their_age(ledger, data):
    for name in ("1-abc", "deeper/2-abc"):
        path = data / "inbox" / "tmp" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    assert reconcile(ledger, data) == Reconciled(removed=2)
    assert [path for path in (data / "inbox").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("digits", [16, 12])
def test_a_complete_file_without_a_row_is_adopted(ledger, data, files, digits):
    arrivals = [kept(data, file, digits=digits) for file in files]
    assert reconcile(ledger, data) == Reconciled(adopted=4)
    job = only_job(ledger)
    assert (job.state, job.instances, job.calling_ae) == (S.RECEIVED, 4, FINDER)
    assert sorted(ledger.instances.keys_of(job.id)) == sorted(arrival.key for arrival in arrivals)
    assert {header.sop_uid for header in ledger.instances.headers_of(job.id)} == {a.header.sop_uid for a in arrivals}
    assert ledger.associations.count_open() == 0, "it must not wait for an association that never ends"
    [again] = ledger.instances.record_all([replace(arrivals[0], association=association())])
    assert again is Outcome.DUPLICATE, "its digest is the one the receiver would have written down"
    assert reconcile(ledger, data) == Reconciled()


def test_an_adopted_file_joins_the_series_that_is_being_received(ledger, data, files):
    received(ledger, data, files[:3])
    kept(data, files[3])
    assert reconcile(ledger, data).adopted == 1
    assert (only_job(ledger).instances, only_job(ledger).calling_ae) == (4, "SCANNER")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: bytes(len(content)),  # its length reached the disk, its bytes did not
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: content[:200],
    ],
    ids=["half", "a byte too few", "zeros", "a bit", "within the file meta information"],
)
def test_a_damaged_file_is_set_aside_and_reported(ledger, data, files, caplog, spoil):
    """It could be an acknowledged object that a disk has damaged."""
    arrival = kept(data, files[0], spoil=spoil)
    content = (data / arrival.key).read_bytes()
    assert reconcile(ledger, data) == Reconciled(aside=1)
    assert not (data / arrival.key).exists()
    assert (data / "set-aside" / arrival.key.removeprefix("inbox/")).read_bytes() == content
    row = only_job(ledger)
    assert (row.state, row.code, row.calling_ae) == (S.DECLINED, Reason.DAMAGED_FILE, FINDER)
    assert row.reason.startswith("1 file was found damaged") and "1 damaged files moved to set-aside" in caplog.text
    assert reconcile(ledger, data) == Reconciled()


@pytest.mark.parametrize("size", [0, 132, 144])
def test_a_file_without_any_data_set_is_removed(ledger, data, files, size):
    arrival = kept(data, files[0], spoil=lambda content: content[:size])
    assert reconcile(ledger, data) == Reconciled(removed=1)
    assert not (data / arrival.key).exists() and not (data / "set-aside").exists()
    assert ledger.queries.jobs() == []


def test_a_whole_file_that_cannot_be_read_as_dicom_is_set_aside(ledger, data, files):
    """Its digest is that of its name: exactly these bytes were acknowledged."""
    content = files[0].read_bytes()
    _, start = split_dataset(files[0])
    nonsense = content[:start] + b"\xff" * 500
    digest = hashlib.sha256(b"1.2.840.10008.1.2.1" + nonsense[start:]).hexdigest()
    path = data / "inbox" / "1.2" / "1.2.3" / f"1.2.3.4-{digest[:16]}-0a1b2c3d.dcm"
    path.parent.mkdir(parents=True)
    path.write_bytes(nonsense)
    assert reconcile(ledger, data) == Reconciled(aside=1)
    assert (data / "set-aside" / "1.2" / "1.2.3" / path.name).read_bytes() == nonsense


@pytest.mark.parametrize("named", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.4.70"])
def test_a_file_whose_data_set_names_another_transfer_syntax_is_adopted(ledger, data, files, tmp_path, named):
    """A former version stored such data sets as they came."""
    content = files[0].read_bytes()
    _, start = split_dataset(files[0])
    passed_along = struct.pack("<HH2sH", 2, 0x10, b"UI", len(named) + len(named) % 2) + named.encode()
    passed_along += b"\0" * (len(named) % 2)
    stored = tmp_path / "stored.dcm"
    stored.write_bytes(content[:start] + passed_along + content[start:])
    header = file_header(stored)
    digest = hashlib.sha256(b"1.2.840.10008.1.2.1" + stored.read_bytes()[start:]).hexdigest()
    key = f"inbox/{header.study_uid}/{header.series_uid}/{header.sop_uid}-{digest[:16]}-0a1b2c3d.dcm"
    (data / key).parent.mkdir(parents=True)
    shutil.copy(stored, data / key)
    assert reconcile(ledger, data) == Reconciled(adopted=1)
    assert ledger.instances.keys_of(only_job(ledger).id) == [key] and (data / key).exists()


def test_a_duplicate_is_removed_and_the_known_file_stays(ledger, data, files):
    [known, *_] = received(ledger, data, files)
    double = kept(data, files[0], token="ffffffff")
    assert reconcile(ledger, data) == Reconciled(duplicates=1)
    assert (data / known.key).exists() and not (data / double.key).exists()
    assert only_job(ledger).instances == 4


def test_other_bytes_under_a_known_uid_are_kept_beside_the_first(ledger, data, files, tmp_path):
    received(ledger, data, files)
    other = kept(data, changed(files[0], tmp_path / "changed"))
    assert reconcile(ledger, data) == Reconciled(adopted=1)
    assert (data / other.key).exists()
    assert reconcile(ledger, data) == Reconciled()


def test_files_that_retention_is_removing_are_not_adopted(ledger, data, files):
    arrivals = received(ledger, data, files)
    [job] = ledger.queries.jobs()
    ledger.decisions.apply(job.id, Decision(S.DECLINED, Reason.NOT_A_HIP, "no hip"))
    [series] = ledger.retention.kept_series(ledger.retention.finished_series({S.DECLINED}, ledger.now()))
    assert ledger.retention.remove_series(series, "gone")  # and here the supervisor dies
    assert reconcile(ledger, data) == Reconciled()
    assert only_job(ledger).id == job.id and (data / arrivals[0].key).exists()


@pytest.mark.parametrize(
    "name", ["README", "1.2.dcm", "1.2-0011.dcm", ".nfs000001", "1.2-zzzz567890123456-0a1b2c3d.dcm"]
)
def test_files_of_others_are_left_alone(ledger, data, files, name, caplog):
    arrival = kept(data, files[0])
    strange = (data / arrival.key).rename((data / arrival.key).with_name(name))
    assert reconcile(ledger, data) == Reconciled(left=1)
    assert strange.exists() and "not the name of a received file" in caplog.text


def test_a_file_that_cannot_be_read_is_left_alone(ledger, data, files, caplog):
    arrival = kept(data, files[0])
    (data / arrival.key).unlink()
    (data / arrival.key).symlink_to((data / arrival.key).name)  # a loop: even root gets an error
    assert reconcile(ledger, data) == Reconciled(left=1)
    assert (data / arrival.key).is_symlink() and "cannot be read" in caplog.text


# --- rows whose file is gone


@pytest.mark.parametrize(("state", "resumed"), [(S.RECEIVED, S.RECEIVED), (S.QUEUED, S.QUEUED), (S.RUNNING, S.QUEUED)])
def test_a_job_with_missing_files_is_held_and_continues_when_they_are_back(ledger, data, files, caplog, state, resumed):
    caplog.set_level(logging.INFO)
    arrivals = received(ledger, data, files)
    job_id = only_job(ledger).id
    if state is not S.RECEIVED:
        ledger.decisions.apply(job_id, Decision(S.COMPLETE))
        ledger.decisions.apply(job_id, Decision(S.QUEUED, destinations=("pacs",)))
    if state is S.RUNNING:
        assert ledger.queue.claim(job_id, "w", 60)
    for arrival in arrivals[:2]:
        (data / arrival.key).rename((data / arrival.key).with_suffix(".away"))
    assert reconcile(ledger, data) == Reconciled(missing=2, left=2)
    job = ledger.queries.job(job_id)
    assert (job.state, job.code, job.worker) == (S.HELD, Reason.MISSING_FILE, "")
    assert job.reason.startswith("2 of its files are gone from the disk")
    assert f"job {job_id}: 2 of its received files are missing on disk" in caplog.text
    assert "2 received files are missing" in caplog.text
    history = len(ledger.queries.events(job_id))
    assert reconcile(ledger, data).missing == 2
    assert len(ledger.queries.events(job_id)) == history, "it is told once, not at every start"
    for arrival in arrivals[:2]:
        (data / arrival.key).with_suffix(".away").rename(data / arrival.key)
    assert reconcile(ledger, data) == Reconciled()
    job = ledger.queries.job(job_id)
    assert (job.state, job.code, job.reason) == (resumed, "", "")
    assert f"job {job_id} continues" in caplog.text


def test_a_finished_job_records_missing_files_in_its_history(ledger, data, files):
    arrivals = received(ledger, data, files)
    job_id = only_job(ledger).id
    ledger.decisions.apply(job_id, Decision(S.DECLINED, Reason.NOT_A_HIP, "no hip"))
    (data / arrivals[0].key).unlink()
    for _ in range(2):
        assert reconcile(ledger, data) == Reconciled(missing=1)
    assert ledger.queries.job(job_id).state is S.DECLINED
    texts = [event.text for event in ledger.queries.events(job_id)]
    assert texts.count("1 of its files is gone from the disk: send the series again") == 1


@pytest.mark.parametrize("code", [Reason.PERSON_HOLDS, Reason.GAP])
def test_a_held_job_stays_held_and_keeps_the_reason_of_a_person(ledger, data, files, code):
    arrivals = received(ledger, data, files)
    job_id = only_job(ledger).id
    if code == Reason.PERSON_HOLDS:
        ledger.operator.hold(job_id, "tester")
    else:
        ledger.decisions.apply(job_id, Decision(S.HELD, code, "a slice is missing"))
    (data / arrivals[0].key).unlink()
    assert reconcile(ledger, data).missing == 1
    job = ledger.queries.job(job_id)
    assert (job.state, job.code) == (S.HELD, code if code == Reason.PERSON_HOLDS else Reason.MISSING_FILE)
    assert "1 of its files is gone" in ledger.queries.events(job_id)[-1].text


def test_an_unknown_file_with_the_same_bytes_replaces_a_missing_one(ledger, data, files):
    arrivals = received(ledger, data, files)
    (data / arrivals[0].key).unlink()
    again = kept(data, files[0], token="ffffffff")
    assert reconcile(ledger, data) == Reconciled(adopted=1)
    assert again.key in ledger.instances.keys_of(only_job(ledger).id)
    assert only_job(ledger).state is S.RECEIVED


def test_files_sent_again_replace_missing_ones_and_the_job_continues(ledger, data, files):
    arrivals = received(ledger, data, files)
    for arrival in arrivals[:2]:
        (data / arrival.key).unlink()
    reconcile(ledger, data)
    job_id = only_job(ledger).id
    for file, there, state in ((files[3], True, S.HELD), (files[0], False, S.HELD), (files[1], False, S.RECEIVED)):
        again = kept(data, file, token="ffffffff")
        assert ledger.instances.record(again) is Outcome.DUPLICATE
        assert ledger.missing_files.replace_missing(again) is not there
        assert ledger.queries.job(job_id).state is state
    assert all((data / key).exists() for key in ledger.instances.keys_of(job_id))


def test_a_duplicate_of_a_series_just_removed_must_be_sent_again(ledger, data, files):
    with pytest.raises(LedgerError, match="removed from the ledger a moment ago") as failure:
        ledger.missing_files.replace_missing(kept(data, files[0]))
    assert failure.value.retry and failure.value.status is StoreStatus.OUT_OF_RESOURCES


def test_an_inbox_that_cannot_be_listed_is_an_error(ledger, data):
    (data / "inbox" / "tmp").rmdir()
    (data / "inbox").rmdir()
    (data / "inbox").write_bytes(b"no folder")
    with pytest.raises(InboxError, match="the inbox cannot be reconciled"):
        reconcile(ledger, data)


def test_a_linked_study_folder_is_listed(ledger, data, files, tmp_path):
    [arrival, *_] = received(ledger, data, files)
    study = (data / arrival.key).parent.parent
    elsewhere = tmp_path / "elsewhere"
    os.rename(study, elsewhere)  # noqa: PTH104
    study.symlink_to(elsewhere)
    assert reconcile(ledger, data) == Reconciled()
