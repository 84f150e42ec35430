"""Ticks of the supervisor over a real ledger, with a hand-held clock and a dispatcher that only remembers."""

import sqlite3
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from ledger_steps import finish_job
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage
from senders import association

from node.dispatch.celery_app import LEAST_DELIVERY_THREADS
from node.dispatch.dispatcher import BrokerDownError
from node.errors import LedgerError
from node.ledger import Ledger
from node.records.instances import Arrival, Ending, Header
from node.records.results import Result
from node.records.states import JobState
from node.settings.settings import load_settings
from node.supervise.supervisor import Supervisor


class Clock:
    def __init__(self) -> None:
        self.time = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def pass_seconds(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@dataclass
class Remembers:
    """A broker that can be down."""

    down: bool = False
    jobs: list[str] = field(default_factory=list)
    deliveries: list[int] = field(default_factory=list)

    def segment(self, job_id: str) -> None:
        self._take(self.jobs, job_id)

    def deliver(self, delivery_id: int) -> None:
        self._take(self.deliveries, delivery_id)

    def _take(self, messages: list, ident) -> None:
        if self.down:
            raise BrokerDownError("the broker is down")
        messages.append(ident)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def settings(tmp_path):
    return load_settings(
        None,
        node={"data": tmp_path},
        intake={"quiet_seconds": 10},
        peers=[{"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}],
        jobs={"lease_seconds": 30, "heartbeat_seconds": 5, "redispatch_seconds": 15, "max_attempts": 2},
    )


@pytest.fixture
def ledger(settings, clock):
    opened = Ledger.of(settings, clock)
    yield opened
    opened.close()


@pytest.fixture
def broker():
    return Remembers()


@pytest.fixture
def supervisor(ledger, settings, broker):
    return Supervisor(ledger, settings, broker)


def arrive(ledger, count=12, *, study="1.2", series="1.2.3", modality="CT", body_part="", skip=(), link=None) -> str:
    """Record a stack of slices 4 mm apart; return the job's id."""
    sop_class = CTImageStorage if modality == "CT" else MRImageStorage
    sender = link or association()
    for n in range(count):
        if n in skip:
            continue
        header = Header(
            study, series, f"{series}.{n}", sop_class, modality=modality, body_part=body_part, rows=4, columns=4,
            image_type=("ORIGINAL", "PRIMARY", "AXIAL"), frame_of_reference="1.9", rescale=True,
            position=(0.0, 0.0, 4.0 * n), orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), spacing=(1.0, 1.0),
        )  # fmt: skip
        ledger.instances.record(Arrival(header, ExplicitVRLittleEndian, "x", "0", 1, sender))
    if link is None:
        ledger.associations.end(sender.id, Ending.RELEASED)
    (job,) = [job for job in ledger.queries.jobs() if job.series_uid == series and job.state is JobState.RECEIVED]
    return job.id


def worker_reports(ledger, count=1):
    for n in range(count):
        ledger.processes.report(f"worker-segment@here:{n}", "worker-segment", "here", n)


def test_whole_series_is_dispatched_once_it_is_quiet_and_not_before(ledger, supervisor, broker, clock):
    job_id = arrive(ledger)
    clock.pass_seconds(9)
    supervisor.tick()
    assert ledger.queries.job(job_id).state is JobState.RECEIVED
    clock.pass_seconds(2)
    supervisor.tick()
    job = ledger.queries.job(job_id)
    assert (job.state, job.destinations) == (JobState.QUEUED, ("pacs",))
    assert broker.jobs == [job_id]
    supervisor.tick()
    assert broker.jobs == [job_id]


@pytest.mark.parametrize(
    ("given", "state", "code"),
    [
        ({"modality": "MR"}, JobState.DECLINED, "not-ct"),
        ({"body_part": "CHEST"}, JobState.DECLINED, "not-a-hip"),
    ],
)
def test_what_cannot_be_segmented_gets_its_reason_and_no_message(ledger, supervisor, broker, clock, given, state, code):
    job_id = arrive(ledger, **given)
    clock.pass_seconds(11)
    supervisor.tick()
    job = ledger.queries.job(job_id)
    assert (job.state, job.code) == (state, code)
    assert job.reason
    assert broker.jobs == []


def test_a_gap_is_waited_for_and_held_when_nothing_more_comes(ledger, supervisor, broker, clock):
    job_id = arrive(ledger, skip=(5,))
    clock.pass_seconds(11)
    supervisor.tick()
    job = ledger.queries.job(job_id)
    assert (job.state, job.reason) == (
        JobState.RECEIVED, "waiting: slice 6 is missing between z=16.0 and z=24.0 mm",
    )  # fmt: skip
    clock.pass_seconds(600)
    supervisor.tick()
    assert (ledger.queries.job(job_id).state, ledger.queries.job(job_id).code) == (JobState.HELD, "gap")
    assert broker.jobs == []


def test_a_whole_series_is_in_the_queue_two_seconds_after_its_release(ledger, supervisor, broker, clock):
    ledger.processes.report("scp@test:1", "scp", "test", 1)
    link = association()
    job_id = arrive(ledger, 40, link=link)
    supervisor.tick()
    ledger.associations.end(link.id, Ending.RELEASED)
    for _ in range(3):
        clock.pass_seconds(0.5)
        supervisor.tick()
    assert broker.jobs == [job_id]


def test_the_association_of_a_receiver_that_was_killed_does_not_block_its_series(ledger, supervisor, broker, clock):
    ledger.processes.report("scp@test:1", "scp", "test", 1)
    job_id = arrive(ledger, 40, link=association())
    supervisor.tick()
    assert ledger.associations.count_open() == 1
    clock.pass_seconds(16)  # three heartbeats and a bit: nobody reports any more
    supervisor.tick()
    assert ledger.associations.count_open() == 0
    assert broker.jobs == [job_id]


def test_series_is_not_held_because_the_database_was_away_for_a_moment(ledger, settings, supervisor, clock):
    job_id = arrive(ledger)
    clock.pass_seconds(11)
    with sqlite3.connect(settings.data / "ledger.sqlite3") as raw:
        raw.execute("ALTER TABLE instances RENAME TO away")
    with pytest.raises(LedgerError):
        supervisor.tick()
    assert ledger.queries.job(job_id).state is JobState.RECEIVED
    with sqlite3.connect(settings.data / "ledger.sqlite3") as raw:
        raw.execute("ALTER TABLE away RENAME TO instances")
    supervisor.tick()
    assert ledger.queries.job(job_id).state is JobState.QUEUED


def test_lost_message_is_sent_again_while_a_worker_is_idle(ledger, supervisor, broker, clock):
    job_id = arrive(ledger)
    clock.pass_seconds(11)
    supervisor.tick()
    clock.pass_seconds(16)
    worker_reports(ledger)
    supervisor.tick()
    assert broker.jobs == [job_id, job_id]
    supervisor.tick()
    assert broker.jobs == [job_id, job_id]


@pytest.mark.parametrize("workers", [0, 1], ids=["no worker", "a busy worker"])
def test_waiting_job_is_not_announced_again_when_nobody_could_take_it(ledger, supervisor, broker, clock, workers):
    first, second = arrive(ledger), arrive(ledger, study="1.3", series="1.3.4")
    clock.pass_seconds(11)
    supervisor.tick()
    assert ledger.queue.claim(first, "worker", 1000)
    clock.pass_seconds(16)
    worker_reports(ledger, workers)
    supervisor.tick()
    assert sorted(broker.jobs) == sorted([first, second])


def test_job_of_a_dead_worker_is_announced_at_once_and_failed_after_its_last_attempt(ledger, supervisor, broker, clock):
    job_id = arrive(ledger)
    clock.pass_seconds(11)
    supervisor.tick()
    for attempt in (1, 2):
        assert ledger.queue.claim(job_id, f"worker{attempt}", 30)
        supervisor.tick()
        assert ledger.queries.job(job_id).state is JobState.RUNNING
        clock.pass_seconds(31)
        supervisor.tick()
    job = ledger.queries.job(job_id)
    assert (job.state, job.attempts) == (JobState.FAILED, 2)
    assert "died 2 times" in job.reason
    assert broker.jobs == [job_id, job_id]


def test_broker_that_is_down_costs_nothing_but_time(ledger, supervisor, broker, clock):
    job_id = arrive(ledger)
    broker.down = True
    clock.pass_seconds(11)
    for _ in range(3):
        supervisor.tick()
    assert ledger.queries.job(job_id).state is JobState.QUEUED
    broker.down = False
    supervisor.tick()
    assert broker.jobs == [job_id]


def test_two_supervisors_announce_and_decide_once(ledger, settings, supervisor, broker, clock):
    second = Supervisor(ledger, settings, broker)
    job_id = arrive(ledger)
    clock.pass_seconds(11)
    supervisor.tick()
    second.tick()
    assert broker.jobs == [job_id]
    assert [event.state for event in ledger.queries.events(job_id)] == ["received", "complete", "queued"]


def test_due_deliveries_are_announced_and_later_ones_are_not(ledger, supervisor, broker, clock, tmp_path):
    job_id = arrive(ledger)
    clock.pass_seconds(11)
    supervisor.tick()
    assert ledger.queue.claim(job_id, "worker", 30)
    finish_job(ledger, job_id, "worker", [Result("seg", "seg.dcm", "0", 1, "1.2", "1.2.9")], {})
    supervisor.tick()
    (delivery,) = ledger.queries.job(job_id).deliveries
    assert broker.deliveries == [delivery.id]
    ledger.outbox.claim(delivery.id, "me", 60)
    ledger.outbox.failed(delivery.id, "me", "absent", next_at=clock() + timedelta(seconds=100))
    clock.pass_seconds(50)
    supervisor.tick()
    assert broker.deliveries == [delivery.id]
    clock.pass_seconds(51)
    supervisor.tick()
    assert broker.deliveries == [delivery.id, delivery.id]


@pytest.mark.parametrize("workers", [0, 1, 2], ids=["nobody", "one who is busy", "one who could"])
def test_waiting_delivery_is_announced_again_only_while_somebody_could_take_it(
    ledger, supervisor, broker, clock, tmp_path, workers
):
    job_id = arrive(ledger)
    clock.pass_seconds(11)
    supervisor.tick()
    assert ledger.queue.claim(job_id, "worker", 30)
    made = [Result("seg", f"{n}.dcm", "0", 1, "1.2", f"1.2.9.{n}") for n in range(LEAST_DELIVERY_THREADS + 1)]
    assert ledger.queue.finish(job_id, "worker", {one: [f"pacs{n}"] for n, one in enumerate(made)}, {})
    supervisor.tick()
    *taken, waiting = broker.deliveries
    for delivery_id in taken:
        assert ledger.outbox.claim(delivery_id, f"sender{delivery_id}", 1000)
    clock.pass_seconds(16)
    for n in range(workers):
        ledger.processes.report(f"worker-deliver@here:{n}", "worker-deliver", "here", n)
    supervisor.tick()
    supervisor.tick()
    assert broker.deliveries == [*taken, waiting] + [waiting] * (workers == 2)


def test_forgotten_processes_leave_the_ledger(ledger, supervisor, clock):
    worker_reports(ledger)
    supervisor.tick()
    assert ledger.processes.all()
    clock.pass_seconds(25 * 3600)
    supervisor.tick()
    assert not ledger.processes.all()


def test_associations_are_forgotten_a_day_after_their_end(ledger, supervisor, clock):
    job_id = arrive(ledger)
    supervisor.tick()
    with ledger.database.read() as connection:
        known = connection.exec_driver_sql("SELECT count(*) FROM associations").scalar()
    clock.pass_seconds(11)
    supervisor.tick()
    clock.pass_seconds(25 * 3600)
    ledger.associations.end_lost([])
    clock.pass_seconds(25 * 3600)
    supervisor.tick()
    with ledger.database.read() as connection:
        left = [connection.exec_driver_sql(f"SELECT count(*) FROM {t}").scalar() for t in ("associations", "carried")]
    assert known > 0 and left == [0, 0]
    assert ledger.queries.job(job_id).instances == 12
