"""Steps of a series through the ledger, for tests that need a job in some state."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RawDataStorage, generate_uid
from senders import association

from node.decide.recipients import recipients
from node.ledger.database import utc_now
from node.records.instances import Arrival, Header
from node.records.jobs import Decision, Evidence, Job
from node.records.results import Result
from node.records.states import JobState

S = JobState


class Clock:
    """A clock that moves only when a test moves it."""

    def __init__(self):
        self.time = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

    def __call__(self):
        return self.time

    def push(self, seconds):
        self.time += timedelta(seconds=seconds)


class RunningClock:
    """The real time, which a test can advance."""

    def __init__(self):
        self.offset = timedelta()

    def __call__(self):
        return utc_now() + self.offset


def arrival(ledger, number=1, series="1.2.3", sha256=None, **header):
    values = {"study_uid": "1.2", "series_uid": series, "sop_uid": f"{series}.{number}", "sop_class_uid": "1.9"}
    described = Header(**(values | {"modality": "CT", "position": (0.0, 0.0, float(number))} | header))
    sender = association(host="10.0.0.7")
    return Arrival(described, "1.2.840.10008.1.2.1", f"inbox/{number}.dcm", sha256 or f"digest{number}", 100, sender)


def only_job(ledger) -> Job:
    [job] = ledger.queries.jobs()
    return job


def queued_job(ledger, destinations=("pacs",), priority=0, series="1.2.3") -> str:
    ledger.instances.record(arrival(ledger, series=series))
    job_id = ledger.queries.jobs(S.RECEIVED)[0].id
    ledger.decisions.apply(job_id, Decision(S.COMPLETE))
    ledger.decisions.apply(job_id, Decision(S.QUEUED, destinations=destinations, priority=priority))
    return job_id


def running_job(ledger, worker="w", **where) -> str:
    job_id = queued_job(ledger, **where)
    assert ledger.queue.claim(job_id, worker, 30) is not None
    return job_id


def seg(ledger, name="seg.dcm"):
    key = f"results/{name}"
    path = ledger.data / key
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"a mask")
    digest = hashlib.sha256(b"a mask").hexdigest()
    return Result("seg", key, digest, 6, "1.2.840.10008.5.1.4.1.1.66.4", "2.25.1")


def fail_delivery(ledger) -> None:
    [delivery_id] = ledger.outbox.due(0)
    assert ledger.outbox.claim(delivery_id, "sender", 60)
    assert ledger.outbox.failed(delivery_id, "sender", "refused", next_at=None)


def delivering_job(ledger, destinations=("pacs",)) -> str:
    job_id = running_job(ledger, destinations=destinations)
    picture = Result("overlay", "results/overlay.png", "f00", 5)
    report = {"timings": {"read": 0.5, "segment": 2}}
    assert finish_job(ledger, job_id, "w", [seg(ledger), picture], report)
    return job_id


def carry(ledger, link, number, series="1.2.3"):
    ledger.instances.record(replace(arrival(ledger, number, series), association=link))


def evidence(ledger, series="1.2.3") -> Evidence:
    [found] = [job.evidence for job in ledger.decisions.receiving() if job.series_uid == series]
    return found


def finish_job(ledger, job_id, worker, made, report, wanted=MappingProxyType({})) -> bool:
    """Finish a job as the worker does; wanted: the kinds of results that peers want."""
    peers = ledger.queries.job(job_id).destinations or ()
    return ledger.queue.finish(job_id, worker, {one: recipients(one, made, peers, wanted) for one in made}, report)


def write_result(path, key) -> Result:
    """Write a DICOM object and return its record."""
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = RawDataStorage, generate_uid()
    made.StudyInstanceUID, made.SeriesInstanceUID = generate_uid(), generate_uid()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save_as(path, enforce_file_format=True)
    data = path.read_bytes()
    return Result(path.stem, key, hashlib.sha256(data).hexdigest(), len(data), RawDataStorage, made.SOPInstanceUID)
