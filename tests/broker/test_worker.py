"""The segmenting worker over the embedded broker and over Redis, with processes that are killed."""

import hashlib
import os
import re
import signal
import threading

import pytest

from node.records.states import JobState
from node.supervise.supervisor import Supervisor

DEAD = {JobState.FAILED, JobState.DECLINED, JobState.HELD}


@pytest.fixture
def supervised(site):
    """A supervisor that runs in this process."""
    stop = threading.Event()
    supervisor = Supervisor(site.ledger, site.settings, site.dispatcher)
    thread = threading.Thread(target=supervisor.run, args=(stop, 0.1))
    thread.start()
    yield supervisor
    stop.set()
    thread.join()


def running_child(site, job_id) -> int:
    """Return the process id of the child that runs the job."""
    return int(site.ledger.queries.job(job_id).worker.split("-")[-2])


def test_a_job_runs_and_its_files_are_recorded_with_their_digests(site, poll):
    site.worker()
    job_id = site.queued_job()
    site.dispatcher.segment(job_id)
    poll(lambda: site.state(job_id) is JobState.DELIVERED)
    job = site.ledger.queries.job(job_id)
    assert job.attempts == 1
    assert job.stage_seconds == {"segment": 0.1}
    assert [result.kind for result in job.results] == ["seg", "report"]
    for result in job.results:
        assert re.fullmatch(rf"results/{job_id}/[0-9a-f]{{8}}/{result.name}", result.key)
        assert hashlib.sha256((site.settings.data / result.key).read_bytes()).hexdigest() == result.sha256
    seg, report = job.results
    assert seg.sop_uid
    assert not report.sop_uid
    assert (site.settings.data / report.key).read_text() == f'{{"outputs": ["{seg.name}"]}}'
    assert [path.name for path in (site.settings.data / "results").iterdir()] == [job_id]


def test_message_sent_three_times_runs_the_job_once_and_the_model_is_loaded_once(site, poll):
    site.worker()
    first, last = site.queued_job(), site.queued_job()
    for job_id in (first, first, first, last):
        site.dispatcher.segment(job_id)
    poll(lambda: site.state(last) is JobState.DELIVERED)
    assert site.ledger.queries.job(first).attempts == 1
    assert site.count("runs") == 2
    assert site.count("loads") == 1


def test_an_urgent_job_runs_before_jobs_dispatched_earlier(site, poll):
    waiting = [site.queued_job() for _ in range(2)]
    urgent = site.queued_job(priority=5)
    for job_id in (*waiting, urgent):
        site.dispatcher.segment(job_id)
    site.worker()
    everything = (urgent, *waiting)
    poll(lambda: {site.state(job_id) for job_id in everything} == {JobState.DELIVERED})
    assert sorted(everything, key=lambda job_id: site.ledger.queries.job(job_id).started_at) == list(everything)
    assert site.count("runs") == 3


@pytest.mark.parametrize(
    ("order", "state", "code", "words"),
    [
        ("declined", JobState.DECLINED, "too-short", "the scan is too short"),
        ("held", JobState.HELD, "gantry-tilt", "the gantry is tilted by 5 degrees"),
        ("memory", JobState.FAILED, "out-of-memory", "more memory than this process can have"),
        ("nested", JobState.HELD, "nested-too-deeply", "nested too deeply"),
        ("broken", JobState.FAILED, "unexpected", "an unexpected error (ValueError)"),
    ],
)
def test_an_error_becomes_a_state_with_a_reason_and_the_worker_continues(site, poll, order, state, code, words):
    site.worker()
    site.order(order)
    job_id = site.queued_job()
    site.dispatcher.segment(job_id)
    poll(lambda: site.state(job_id) in DEAD)
    job = site.ledger.queries.job(job_id)
    assert (job.state, job.code) == (state, code)
    assert words in job.reason
    assert "DOE" not in job.reason
    site.order("quick")
    good = site.queued_job()
    site.dispatcher.segment(good)
    poll(lambda: site.state(good) is JobState.DELIVERED)
    assert site.count("loads") == 1


@pytest.mark.parametrize("victim", ["child", "worker"])
def test_the_job_of_a_killed_process_runs_again_and_has_one_result(site, supervised, poll, victim):
    worker = site.worker()
    site.order("wait")
    job_id = site.queued_job()
    poll(lambda: site.ledger.queries.job(job_id).stage == "segment")
    if victim == "child":
        os.kill(running_child(site, job_id), signal.SIGKILL)
    else:
        child = running_child(site, job_id)
        worker.kill()
        poll(lambda: not alive(child), what="the death of the child with its parent")
        site.worker()
    (site.folder / "go").touch()
    poll(lambda: site.state(job_id) is JobState.DELIVERED)
    assert site.ledger.queries.job(job_id).attempts == 2
    assert site.count("runs") == 2
    assert [path.name for path in (site.settings.data / "results").iterdir()] == [job_id]


def test_a_child_killed_while_idle_is_replaced(site, poll):
    site.worker()
    first = site.queued_job()
    site.dispatcher.segment(first)
    poll(lambda: site.state(first) is JobState.DELIVERED)
    os.kill(int((site.folder / "loads").read_text()), signal.SIGKILL)
    second = site.queued_job()
    poll(lambda: site.count("loads") == 2)
    site.dispatcher.segment(second)
    poll(lambda: site.state(second) is JobState.DELIVERED)


@pytest.mark.parametrize("busy", [False, True])
def test_a_child_that_stands_still_is_replaced_and_its_job_runs_elsewhere(site, supervised, poll, busy):
    site.worker()
    site.order("wait" if busy else "quick")
    first = site.queued_job()
    poll(lambda: site.ledger.queries.job(first).stage == "segment" if busy else site.state(first) is JobState.DELIVERED)
    os.kill(int((site.folder / "loads").read_text()), signal.SIGSTOP)
    (site.folder / "go").touch()
    second = site.queued_job()
    poll(lambda: {site.state(first), site.state(second)} == {JobState.DELIVERED})
    assert site.count("loads") == 2
    assert site.ledger.queries.job(first).attempts == 1 + busy


def test_a_job_that_kills_its_worker_three_times_fails_with_that_reason(site, supervised, poll):
    site.worker()
    site.order("die")
    job_id = site.queued_job()
    poll(lambda: site.state(job_id) in DEAD)
    job = site.ledger.queries.job(job_id)
    assert (job.state, job.code, job.attempts) == (JobState.FAILED, "worker-died", 3)
    assert job.reason == "its worker died 3 times, last in stage segment"
    assert site.count("runs") == 3


def test_a_job_over_the_time_limit_is_stopped_and_fails(site, poll):
    site.worker(soft_time_limit="1", hard_time_limit="30")
    site.order("wait")
    job_id = site.queued_job()
    site.dispatcher.segment(job_id)
    poll(lambda: site.state(job_id) in DEAD)
    assert site.ledger.queries.job(job_id).reason == "the segmentation took longer than soft_time_limit = 1 s"
    assert site.count("loads") == 1


def test_a_job_that_cannot_be_stopped_is_killed_and_repeated(site, supervised, poll):
    site.worker(soft_time_limit="3", hard_time_limit="4")
    site.order("stuck")
    job_id = site.queued_job()
    poll(lambda: site.state(job_id) is JobState.DELIVERED)
    assert site.ledger.queries.job(job_id).attempts == 2
    assert site.count("loads") == 2


def test_a_stopped_worker_returns_its_job_without_counting_the_attempt(site, poll):
    worker = site.worker()
    site.order("wait")
    job_id = site.queued_job()
    site.dispatcher.segment(job_id)
    poll(lambda: site.ledger.queries.job(job_id).stage == "segment")
    worker.terminate()
    assert worker.wait(60) == 0
    job = site.ledger.queries.job(job_id)
    assert (job.state, job.attempts, job.worker) == (JobState.QUEUED, 0, "")
    assert not list((site.settings.data / "results").iterdir())
    assert not [p for p in site.ledger.processes.all() if p.kind == "worker-segment"]


def test_a_cancelled_job_is_interrupted_and_records_nothing(site, poll):
    site.worker()
    site.order("wait")
    job_id = site.queued_job()
    site.dispatcher.segment(job_id)
    poll(lambda: site.ledger.queries.job(job_id).stage == "segment")
    site.ledger.operator.cancel(job_id, "tester")
    site.order("quick")
    following = site.queued_job()
    site.dispatcher.segment(following)
    poll(lambda: site.state(following) is JobState.DELIVERED)
    job = site.ledger.queries.job(job_id)
    assert (job.state, job.results) == (JobState.CANCELLED, ())
    assert site.count("loads") == 1


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_slow_peer_does_not_block_the_delivering_worker(site, peer, poll):
    site.worker()
    jobs = [site.queued_job(("pacs",)) for _ in range(2)]
    for job_id in jobs:
        site.dispatcher.segment(job_id)
    poll(lambda: {site.state(job_id) for job_id in jobs} == {JobState.DELIVERING})
    hold = peer.hold = threading.Event()
    site.worker("deliver")
    for job_id in jobs:
        site.dispatcher.deliver(site.ledger.queries.job(job_id).deliveries[0].id)
    poll(lambda: {site.state(job_id) for job_id in jobs} == {JobState.DELIVERING, JobState.DELIVERED})
    hold.set()
    poll(lambda: {site.state(job_id) for job_id in jobs} == {JobState.DELIVERED})
    assert len(peer.received) == 2
