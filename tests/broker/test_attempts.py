"""One attempt of a job against another, and against files that changed: nothing that is recorded is lost or wrong."""

from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from pydicom import dcmread
from senders import arrival_of_a_slice

from node.files.results import remove_unrecorded
from node.ledger import Ledger
from node.records.jobs import Decision
from node.records.states import JobState, Reason
from node.settings.settings import load_settings
from worker.segmentation import SegmentationOutput
from worker.tasks import SegmentTask


@dataclass
class Segmenter:
    """Writes one object; calls `meanwhile` once before, as if this worker had been paused there."""

    meanwhile: list = field(default_factory=list)
    runs: int = 0

    def preload(self) -> None:
        self.runs = 0

    def segment(self, files, out, created, on_stage, model="", extras=None) -> SegmentationOutput:
        self.runs += 1
        if self.meanwhile:
            self.meanwhile.pop()()
        dcmread(files[0]).save_as(out / "seg.dcm")
        return SegmentationOutput((out / "seg.dcm",), {})


@pytest.fixture
def settings(tmp_path):
    return load_settings(None, node={"data": tmp_path / "data"})


@pytest.fixture
def ledger(settings):
    with closing(Ledger.of(settings)) as opened:
        yield opened


@pytest.fixture
def segmenter():
    return Segmenter()


@pytest.fixture
def task(settings, segmenter):
    made = SegmentTask(settings, segmenter)
    with closing(made.ledger):
        yield made


def queue(ledger, arrival) -> str:
    ledger.instances.record(arrival)
    [job] = ledger.queries.jobs()
    ledger.decisions.apply(job.id, Decision(JobState.COMPLETE))
    ledger.decisions.apply(job.id, Decision(JobState.QUEUED, destinations=()))
    return job.id


def attempts(ledger):
    return sorted(path.name for path in ledger.data.glob("results/*/*"))


def test_a_worker_that_was_paused_beyond_its_lease_leaves_the_results_of_its_successor(ledger, settings, task):
    job_id = queue(ledger, arrival_of_a_slice(ledger.data))

    def another_worker_runs_it():
        later = datetime.now(UTC) + timedelta(seconds=settings.jobs.lease_seconds + 1)
        with closing(Ledger.of(settings, lambda: later)) as others_ledger:
            assert others_ledger.queue.reap_expired(3) == [job_id]
        with closing((second := SegmentTask(settings, Segmenter())).ledger):
            second.run(job_id)

    task.segmenter.meanwhile.append(another_worker_runs_it)
    task.run(job_id)
    job = ledger.queries.job(job_id)
    assert (job.state, job.attempts) == (JobState.DELIVERED, 2)
    [result] = job.results
    assert result.fault(ledger.data / result.key) is None
    assert attempts(ledger) == [result.key.split("/")[2]]


def test_what_an_attempt_left_without_a_record_is_removed_and_nothing_else(ledger, task):
    job_id = queue(ledger, arrival_of_a_slice(ledger.data))
    task.run(job_id)
    [recorded] = attempts(ledger)
    for job, attempt in ((job_id, "killed"), ("of-another-ledger", "a1")):
        (ledger.data / "results" / job / attempt).mkdir(parents=True)
    assert remove_unrecorded(ledger) == 1
    assert attempts(ledger) == sorted(["a1", recorded])


def test_the_folder_of_a_running_attempt_stays(ledger, task):
    job_id = queue(ledger, arrival_of_a_slice(ledger.data))
    task.segmenter.meanwhile.append(lambda: remove_unrecorded(ledger))
    task.run(job_id)
    assert ledger.queries.job(job_id).state is JobState.DELIVERED


def change(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("harm", [change, lambda path: path.write_bytes(b""), lambda path: path.unlink()])
def test_a_file_that_is_not_as_received_is_not_segmented_and_the_job_goes_on_when_it_is_sent_again(
    ledger, task, segmenter, harm
):
    arrival = arrival_of_a_slice(ledger.data)
    job_id = queue(ledger, arrival)
    harm(ledger.data / arrival.key)
    task.run(job_id)
    job = ledger.queries.job(job_id)
    assert (job.state, job.code, segmenter.runs) == (JobState.HELD, Reason.MISSING_FILE, 0)
    assert job.reason.startswith("1 of its files is gone, or not as received")
    again = arrival_of_a_slice(ledger.data, arrival.header)
    ledger.instances.record(again)
    assert ledger.missing_files.replace_missing(again) or ledger.missing_files.resume_jobs() == [job_id]
    assert ledger.queries.job(job_id).state is JobState.QUEUED
    task.run(job_id)
    assert ledger.queries.job(job_id).state is JobState.DELIVERED


def test_a_full_disk_is_named(ledger, task, segmenter):
    def fail():
        raise OSError(28, "No space left on device", "/data/results/seg.dcm")

    job_id = queue(ledger, arrival_of_a_slice(ledger.data))
    segmenter.meanwhile.append(fail)
    task.run(job_id)
    job = ledger.queries.job(job_id)
    assert (job.state, job.code) == (JobState.FAILED, "disk-error")
    assert job.reason == "a file could not be read or written: No space left on device"
    assert attempts(ledger) == []
