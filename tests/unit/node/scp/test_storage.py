"""Arrivals of many associations in one transaction, and what becomes of them when the ledger fails."""

import hashlib
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from ct_factory import CtSpec, write_own_series
from raw_caller import CT, EXPLICIT, data_set
from senders import accepted, association

from node.dicom.dimse import Request
from node.errors import LedgerError, StoreStatus
from node.files.disk_space import FreeSpace
from node.ledger import Ledger
from node.ledger.decisions import Decisions
from node.ledger.instances import Instances
from node.records.instances import Arrival, Header, Outcome
from node.records.states import JobState, Reason
from node.scp.group_commit import GroupCommit
from node.scp.rate_limit import EVENTS
from node.scp.refusals import RefusalLog
from node.scp.storage import Storage
from node.settings.settings import load_settings


@dataclass
class Faults:
    """What goes wrong in the ledger, and the sizes of its transactions."""

    fault: Exception | None = None
    batches: tuple[int, ...] = ()
    gate: threading.Event | None = None


class FailingInstances(Instances):
    def __init__(self, faults, *given):
        super().__init__(*given)
        self.faults = faults

    def record_all(self, arrivals):
        self.faults.batches = (*self.faults.batches, len(arrivals))
        if self.faults.gate is not None:
            self.faults.gate.wait(20)
        if self.faults.fault is not None:
            raise self.faults.fault
        return super().record_all(arrivals)


class FailingDecisions(Decisions):
    def __init__(self, faults, *given):
        super().__init__(*given)
        self.faults = faults

    def record_refusal(self, refusal):
        if self.faults.fault is not None:
            raise self.faults.fault
        return super().record_refusal(refusal)


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return load_settings(None, node={"data": str(tmp_path / "data")}, intake={"maximum_object_mb": 1})


@pytest.fixture
def faults():
    return Faults()


@pytest.fixture
def ledger(settings, faults):
    """A real ledger that can be told to fail."""
    with closing(Ledger.of(settings)) as opened:
        yield replace(
            opened,
            instances=FailingInstances(faults, opened.database, opened.associations),
            decisions=FailingDecisions(faults, opened.database),
        )


def arrival(ledger, number, sender):
    header = Header("1.2", f"1.2.{number % 3}", f"1.2.{number % 3}.{number}", CT, modality="CT")
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    return Arrival(header, EXPLICIT, f"inbox/{number}.dcm", digest, 10, sender)


def test_waiting_arrivals_share_a_transaction_and_each_has_its_outcome(ledger, faults, poll):
    group_commit, senders = GroupCommit(ledger), [association() for _ in range(8)]
    faults.gate = threading.Event()
    arrivals = [arrival(ledger, number // 2, senders[number % 8]) for number in range(40)]  # each object twice
    with ThreadPoolExecutor(40) as pool:
        waiting = [pool.submit(group_commit.record, one) for one in arrivals]
        poll(lambda: group_commit.waiting >= 39)
        faults.gate.set()
        outcomes = [one.result(30) for one in waiting]
    assert outcomes.count(Outcome.NEW) == outcomes.count(Outcome.DUPLICATE) == 20
    assert len(faults.batches) <= 3 and sum(faults.batches) == 40
    assert sorted(job.instances for job in ledger.queries.jobs()) == [6, 7, 7]


def test_a_single_association_does_not_wait_for_others(ledger, faults):
    group_commit = GroupCommit(ledger)
    sender = association()
    assert [group_commit.record(arrival(ledger, number, sender)) for number in range(3)] == [Outcome.NEW] * 3
    assert faults.batches == (1, 1, 1)


@pytest.mark.parametrize(
    "fault", [LedgerError("the disk is gone", retry=True, status=StoreStatus.OUT_OF_RESOURCES), RuntimeError("a bug")]
)
def test_a_failing_ledger_fails_all_waiting_arrivals_and_none_after(ledger, faults, fault, poll):
    group_commit, sender = GroupCommit(ledger), association()
    faults.gate, faults.fault = threading.Event(), fault
    with ThreadPoolExecutor(12) as pool:
        waiting = [pool.submit(group_commit.record, arrival(ledger, number, sender)) for number in range(12)]
        poll(lambda: group_commit.waiting >= 11)
        faults.gate.set()
        found = [one.exception(30) for one in waiting]
    assert all(isinstance(one, LedgerError | type(fault)) for one in found)
    faults.fault = None
    assert group_commit.record(arrival(ledger, 99, sender)) is Outcome.NEW
    assert [job.instances for job in ledger.queries.jobs()] == [1]


@pytest.fixture
def storage(settings, ledger):
    return Storage(settings, ledger, RefusalLog(ledger))


@pytest.fixture
def slice_of(tmp_path):
    [path] = write_own_series(tmp_path / "ct", CtSpec(shape=(1, 24, 28)))
    return data_set(path)


def take(storage, sop_uid, content, sender=None, syntax=EXPLICIT):
    request = Request(1, 1, CT, sop_uid, True)
    operation = storage.begin(sender or association(), request, accepted(CT, syntax))
    for at in range(0, len(content), 1000):
        operation.write(memoryview(content)[at : at + 1000])
    return operation.finish()


def test_the_sop_class_of_an_object_must_be_that_of_its_context(storage, ledger, settings, slice_of):
    sop_uid, content = slice_of
    operation = storage.begin(association(), Request(1, 1, CT, sop_uid, True), accepted("1.2.840.10008.5.1.4.1.1.7"))
    operation.write(memoryview(content))
    status, comment = operation.finish()
    assert (status, files(settings)) == (0x0122, [])
    [row] = ledger.queries.jobs(JobState.DECLINED)
    assert (row.code, row.reason) == (Reason.UID_MISMATCH, comment)


def files(settings):
    return [path for path in (settings.data / "inbox").rglob("*") if path.is_file()]


def test_success_is_answered_after_disk_and_ledger_have_the_object(storage, ledger, settings, slice_of):
    assert take(storage, *slice_of) == (StoreStatus.SUCCESS, "")
    [job] = ledger.queries.jobs()
    assert [settings.data / key for key in ledger.instances.keys_of(job.id)] == files(settings)
    assert data_set(files(settings)[0]) == slice_of


def test_an_object_the_ledger_refuses_is_removed_and_answered_with_a_failure(
    storage, ledger, faults, settings, slice_of
):
    faults.fault = LedgerError("the ledger does not answer", retry=True, status=StoreStatus.OUT_OF_RESOURCES)
    assert take(storage, *slice_of) == (StoreStatus.OUT_OF_RESOURCES, "the ledger does not answer")
    assert files(settings) == []
    faults.fault = None
    assert take(storage, *slice_of) == (StoreStatus.SUCCESS, "")
    assert len(files(settings)) == 1


def test_an_internal_error_is_answered_without_patient_data(storage, ledger, faults, settings, slice_of, caplog):
    faults.fault = RuntimeError("a bug")
    status, comment = take(storage, *slice_of)
    assert (status, comment) == (StoreStatus.INTERNAL, "internal error, see the log of the node")
    assert "a bug" in caplog.text and "SECRET" not in caplog.text


REFUSALS = {
    "a hostile UID": (lambda uid, content: ("../" + uid, content), StoreStatus.CANNOT_UNDERSTAND, Reason.INVALID_UID),
    "another UID": (lambda uid, content: ("1.2.3", content), StoreStatus.MISMATCH, Reason.UID_MISMATCH),
    "cut": (lambda uid, content: (uid, content[:-1]), StoreStatus.CANNOT_UNDERSTAND, Reason.BROKEN_OBJECT),
    "nothing": (lambda uid, content: (uid, b""), StoreStatus.CANNOT_UNDERSTAND, Reason.BROKEN_OBJECT),
    "too large": (lambda uid, content: (uid, content + bytes(10**6)), StoreStatus.CANNOT_UNDERSTAND, Reason.TOO_LARGE),
}


@pytest.mark.parametrize(("edit", "status", "code"), REFUSALS.values(), ids=REFUSALS)
def test_a_refused_object_is_recorded_once_and_leaves_no_file(storage, ledger, settings, slice_of, edit, status, code):
    found, comment = take(storage, *edit(*slice_of))
    assert (found, files(settings)) == (status, [])
    [row] = ledger.queries.jobs(JobState.DECLINED)
    assert (row.code, row.reason, row.instances) == (code, comment, 1)


def test_an_object_whose_association_is_lost_leaves_no_file(storage, ledger, settings, slice_of):
    sop_uid, content = slice_of
    operation = storage.begin(association(), Request(1, 1, CT, sop_uid, True), accepted(CT, EXPLICIT))
    operation.write(memoryview(content)[:500])
    assert len(files(settings)) == 1
    operation.discard()
    operation.discard()
    assert files(settings) == [] and ledger.queries.jobs() == []


def test_a_refusal_that_cannot_be_recorded_is_still_answered(storage, ledger, faults, slice_of):
    sop_uid, content = slice_of
    faults.fault = LedgerError("gone")
    assert take(storage, sop_uid, content[:-1])[0] is StoreStatus.CANNOT_UNDERSTAND


def test_a_disk_that_becomes_full_within_an_object_ends_it(storage, settings, slice_of, monkeypatch):
    sop_uid, content = slice_of
    operation = storage.begin(association(), Request(1, 1, CT, sop_uid, True), accepted(CT, EXPLICIT))
    operation.write(memoryview(content)[:500])
    monkeypatch.setattr("node.files.disk_space.RECHECK_SECONDS", 0)
    monkeypatch.setattr("node.files.disk_space.free_space", lambda _path: FreeSpace(499, None))
    operation.write(memoryview(content)[500:])
    assert files(settings) == [], "it is removed at once, not when the sender is done"
    status, comment = operation.finish()
    assert status is StoreStatus.OUT_OF_RESOURCES and comment.startswith("only 499 MB are free")


def test_invented_titles_cause_no_more_rows_than_the_limit_but_an_honest_sender_is_counted_on(ledger, caplog):
    refusals = RefusalLog(ledger)
    for _ in range(150):
        refusals.record(association("CT1"), Reason.BROKEN_OBJECT, "cut off")
    for number in range(150):
        refusals.record(association(f"E{number}"), Reason.BROKEN_OBJECT, "cut off")
    rows = ledger.queries.jobs(JobState.DECLINED)
    assert len(rows) == EVENTS and max(row.instances for row in rows) == 150
    assert caplog.text.count("refusals of 127.0.0.1 are not recorded") == 1


def test_a_refused_object_keeps_nothing_of_what_was_parsed(storage, slice_of):
    """Its exception would: the traceback holds a megabyte of bytes and what pydicom made of them."""
    sop_uid, content = slice_of
    odd = struct.pack("<HH2sHI", 0x7, 0xA730, b"SQ", 0, 0xFFFFFFFF) + bytes.fromhex("feff00e0ffffffff") + content * 500
    refused = []
    before = memory()
    for _ in range(40):
        operation = storage.begin(association(), Request(1, 1, CT, sop_uid, True), accepted(CT, EXPLICIT))
        operation.write(memoryview(odd[:900_000]))
        assert operation.finish()[0] is StoreStatus.CANNOT_UNDERSTAND
        refused.append(operation)
    assert memory() - before < 25


def memory():
    """Return the memory of this process in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6
