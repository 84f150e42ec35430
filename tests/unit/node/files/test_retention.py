"""Which files may go, and that they go so that neither a crash nor a late slice does harm."""

import hashlib
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ledger_steps import finish_job
from senders import association

from node.errors import NotAllowedError
from node.files.retention import AT_ONCE, RetentionStage, expired
from node.ledger import Ledger
from node.records.instances import Arrival, Ending, Header, Outcome
from node.records.jobs import Decision
from node.records.results import Result
from node.records.retention import DeliveryStatus, KeptRevision, KeptSeries
from node.records.states import DeliveryState, JobState, Reason
from node.settings.sections import Retention
from node.settings.settings import load_settings
from node.supervise.supervisor import Supervisor

S, D = JobState, DeliveryState
NOW = datetime(2026, 6, 1, tzinfo=UTC)
RULES = Retention(delivered_days=30, declined_days=7)
OLD, NEW = NOW - timedelta(days=31), NOW - timedelta(days=29)


def sent(*states, at=OLD, peer="pacs"):
    return tuple(DeliveryStatus(peer, state, at if state is D.DELIVERED else None) for state in states)


def revision(state, sending=(), **values):
    given = {"job_id": "j", "finished_at": OLD, "destinations": ("pacs",) if sending else ()} | values
    return KeptRevision(state=state, sent=sending, **given)


DELIVERED = revision(S.DELIVERED, sent(D.DELIVERED, D.DELIVERED))


@pytest.mark.parametrize(
    ("newest", "goes"),
    [
        (DELIVERED, True),
        (revision(S.COMMITTED, sent(D.DELIVERED)), True),
        (revision(S.DELIVERED, sent(D.DELIVERED, at=NEW)), False),  # not long enough ago
        (revision(S.DELIVERED, sent(D.DELIVERED) + sent(D.DELIVERED, at=NEW)), False),  # the last one counts
        (revision(S.DELIVERED, sent(D.DELIVERED), destinations=("pacs", "research")), False),  # one has nothing
        (revision(S.DELIVERED, sent(D.DELIVERED) + sent(D.DELIVERED, peer="b"), destinations=("pacs", "b")), True),
        (revision(S.DELIVERED, sent(D.DELIVERED, D.CANCELLED)), False),
        (revision(S.DELIVERED, sent(D.DELIVERED, D.FAILED)), False),
        (revision(S.DELIVERED, sent(D.DELIVERED, D.WAITING)), False),
        (revision(S.DELIVERED, sent(D.SENDING)), False),
        (revision(S.DELIVERED, code=Reason.NO_DESTINATION), False),  # the results exist only here
        (revision(S.DELIVERED), False),
        (revision(S.DECLINED), True),
        (revision(S.DECLINED, finished_at=NOW - timedelta(days=6)), False),
        (revision(S.DECLINED, finished_at=None), False),
        (revision(S.DELIVERED, sent(D.DELIVERED, at=NOW + timedelta(days=60))), False),  # the clock was set back
        *((revision(state, sent(D.DELIVERED)), False) for state in S if state not in {S.DELIVERED, S.COMMITTED}
          and state is not S.DECLINED),
    ],
)  # fmt: skip
def test_only_series_delivered_or_declined_long_ago_expire(newest, goes):
    series = KeptSeries(1, (newest,))
    assert expired([series], NOW, RULES) == ([series] if goes else [])


@pytest.mark.parametrize(
    ("earlier", "goes"),
    [
        (revision(S.CANCELLED, code=Reason.SUPERSEDED), True),
        (revision(S.CANCELLED, code=Reason.PERSON_CANCELS), True),  # a person has ended it; the newest has its slices
        (revision(S.DECLINED), True),
        (DELIVERED, True),
        (revision(S.DELIVERED, sent(D.DELIVERED, at=NEW)), False),
        (revision(S.DELIVERED, code=Reason.NO_DESTINATION), False),
        (revision(S.DELIVERING, sent(D.DELIVERED, D.WAITING)), False),
        (revision(S.FAILED, sent(D.FAILED)), False),
        (revision(S.FAILED), False),
        (revision(S.CANCELLED, sent(D.SENDING)), False),
        (revision(S.HELD), False),
        (revision(S.RUNNING), False),
    ],
)
def test_an_earlier_revision_may_keep_the_files(earlier, goes):
    series = KeptSeries(1, (earlier, DELIVERED))
    assert expired([series], NOW, RULES) == ([series] if goes else [])


@pytest.mark.parametrize("state", [S.RECEIVED, S.QUEUED, S.HELD, S.FAILED, S.CANCELLED])
def test_the_newest_revision_decides(state):
    assert expired([KeptSeries(1, (DELIVERED, revision(state)))], NOW, RULES) == []


def test_objects_of_an_open_association_stay():
    assert expired([KeptSeries(1, (DELIVERED,), receiving=True)], NOW, RULES) == []


@pytest.mark.parametrize("days", [0, 1e9])
def test_zero_days_and_huge_numbers_of_days_mean_never(days):
    rules = Retention(delivered_days=days, declined_days=days)
    assert expired([KeptSeries(1, (DELIVERED,)), KeptSeries(2, (revision(S.DECLINED),))], NOW, rules) == []


def test_the_oldest_expires_first():
    ages = {1: 40, 2: 90, 3: 60}
    kept = [
        KeptSeries(n, (revision(S.DELIVERED, sent(D.DELIVERED, at=NOW - timedelta(days=days))),))
        for n, days in ages.items()
    ]
    assert [series.series_id for series in expired(kept, NOW, RULES)] == [2, 3, 1]


# --- over a real ledger and real files


class NobodyToWake:
    """A dispatcher for ledgers without work."""

    def segment(self, job_id):
        raise AssertionError(job_id)

    deliver = segment


class Clock:
    def __init__(self):
        self.time = NOW

    def __call__(self):
        return self.time

    def pass_days(self, days):
        self.time += timedelta(days=days)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def ledger(tmp_path, clock, empty_ledger):
    shutil.copy(empty_ledger, tmp_path)
    opened = Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite3", tmp_path, clock)
    yield opened
    opened.close()


def arrive(ledger, series="1.2.3", count=3, token="a", ending=Ending.RELEASED):
    """Let slices of a series arrive by one association; return the outcomes."""
    by = association()
    arrivals = []
    for n in range(count):
        uid = f"{series}.{n}"
        key = f"inbox/1.2/{series}/{uid}-{n:016x}-{token * 8}.dcm"
        path = ledger.data / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"slice")
        header = Header("1.2", series, uid, "1.9", modality="CT")
        arrivals.append(Arrival(header, "1.2.840.10008.1.2.1", key, f"{n:064x}", 5, by))
    outcomes = ledger.instances.record_all(arrivals)
    if ending:
        ledger.associations.end(by.id, ending)
    return outcomes


def deliver(ledger, series="1.2.3", peers=("pacs",)):
    """Bring the newest job of a series to its end; return its id."""
    job = next(job for job in ledger.queries.jobs(S.RECEIVED) if job.series_uid == series)
    ledger.decisions.apply(job.id, Decision(S.COMPLETE))
    ledger.decisions.apply(job.id, Decision(S.QUEUED, destinations=peers))
    assert ledger.queue.claim(job.id, "w", 60)
    folder = ledger.data / "results" / job.id
    folder.mkdir(parents=True)
    made = []
    for name, uid in (("seg.dcm", f"2.25.{job.revision}"), ("overlay.png", "")):
        (folder / name).write_bytes(b"made")
        digest = hashlib.sha256(b"made").hexdigest()
        made.append(Result(name[:-4], f"results/{job.id}/{name}", digest, 4, "1.9" if uid else "", uid))
    assert finish_job(ledger, job.id, "w", made, {})
    for delivery_id in ledger.outbox.due(0):
        assert ledger.outbox.claim(delivery_id, "sender", 60)
        assert ledger.outbox.delivered(delivery_id, "sender")
    return job.id


def files(ledger):
    return sorted(path.name for path in ledger.data.rglob("*") if path.suffix in (".dcm", ".png"))


@pytest.fixture
def retention(ledger):
    return RetentionStage(ledger, RULES)


def test_files_folders_and_results_of_a_delivered_series_are_removed_and_its_history_stays(ledger, clock, retention):
    arrive(ledger)
    arrive(ledger, series="1.2.4")  # of the same study, and still waiting
    job_id = deliver(ledger)
    clock.pass_days(29.9)
    retention.tick()
    assert len(files(ledger)) == 8
    clock.pass_days(0.2)
    retention.tick()
    assert len(files(ledger)) == 3
    assert not (ledger.data / "inbox/1.2/1.2.3").exists() and (ledger.data / "inbox/1.2/1.2.4").is_dir()
    assert not (ledger.data / "results" / job_id).exists() and (ledger.data / "results").is_dir()
    job = ledger.queries.job(job_id)
    assert (job.state, job.removed_at, len(job.results)) == (S.DELIVERED, clock(), 2)
    assert ledger.queries.events(job_id)[-1].text == "its files were removed 30 days after delivery"
    assert ledger.retention.pending_removals() == ledger.instances.keys_of(job_id) == []


def test_the_study_folder_is_removed_with_its_last_series_and_the_inbox_stays(ledger, clock, retention):
    arrive(ledger)
    deliver(ledger)
    clock.pass_days(31)
    retention.tick()
    assert not (ledger.data / "inbox/1.2").exists() and (ledger.data / "inbox").is_dir()


def test_a_declined_series_is_removed_and_cannot_be_retried_afterwards(ledger, clock, retention):
    arrive(ledger)
    [job] = ledger.queries.jobs()
    ledger.decisions.apply(job.id, Decision(S.DECLINED, Reason.NOT_A_HIP, "no hip"))
    clock.pass_days(8)
    retention.tick()
    assert files(ledger) == []
    assert ledger.queries.events(job.id)[-1].text == "its files were removed 8 days after it was declined"
    with pytest.raises(NotAllowedError, match="were removed on 2026-06-09; send them again"):
        ledger.operator.retry(job.id, "tester")


@pytest.mark.parametrize("rules", [Retention(delivered_days=0), Retention(delivered_days=365)])
def test_nothing_is_removed_early(ledger, clock, rules):
    arrive(ledger)
    deliver(ledger)
    clock.pass_days(364)
    RetentionStage(ledger, rules).tick()
    assert len(files(ledger)) == 5


def test_results_without_a_destination_stay(ledger, clock, retention):
    arrive(ledger)
    deliver(ledger, peers=())
    clock.pass_days(1000)
    retention.tick()
    assert len(files(ledger)) == 5


def test_a_series_that_is_sent_again_after_removal_is_new_work(ledger, clock, retention):
    arrive(ledger)
    first = deliver(ledger)
    assert set(arrive(ledger, token="b")) == {Outcome.DUPLICATE}
    clock.pass_days(31)
    retention.tick()
    assert set(arrive(ledger, token="c")) == {Outcome.NEW}
    [job] = ledger.queries.jobs(S.RECEIVED)
    assert (job.revision, len(ledger.instances.keys_of(job.id)), job.removed_at) == (2, 3, None)
    second = deliver(ledger)
    clock.pass_days(31)
    retention.tick()
    removed = [ledger.queries.job(job_id).removed_at for job_id in (first, second)]
    assert removed[1] - removed[0] == timedelta(days=31)
    assert not any((ledger.data / "results").iterdir())


def test_a_duplicate_that_is_just_being_sent_keeps_the_files(ledger, clock, retention):
    arrive(ledger)
    deliver(ledger)
    clock.pass_days(31)
    assert set(arrive(ledger, ending=None)) == {Outcome.DUPLICATE}
    retention.tick()
    assert len(files(ledger)) == 5


@pytest.mark.parametrize("change", ["slice", "carried"])
def test_a_series_that_changes_before_its_removal_stays(ledger, clock, change):
    arrive(ledger)
    deliver(ledger)
    clock.pass_days(31)
    finished = ledger.retention.finished_series({S.DELIVERED}, clock())
    [judged] = expired(ledger.retention.kept_series(finished), clock(), RULES)
    arrive(ledger, count=4 if change == "slice" else 3, ending=Ending.RELEASED if change == "slice" else None)
    assert not ledger.retention.remove_series(judged, "gone")
    assert ledger.retention.pending_removals() == []
    assert len(ledger.instances.keys_of(judged.revisions[-1].job_id)) == 3


def test_two_retention_stages_at_once_do_no_harm(ledger, clock):
    arrive(ledger)
    job_id = deliver(ledger)
    clock.pass_days(31)
    [judged] = ledger.retention.kept_series(ledger.retention.finished_series({S.DELIVERED}, clock()))
    assert ledger.retention.remove_series(judged, "gone")
    assert not ledger.retention.remove_series(judged, "gone")
    assert [event.text for event in ledger.queries.events(job_id)].count("gone") == 1


def test_after_a_crash_the_next_tick_completes_the_removal(ledger, clock, retention):
    arrive(ledger)
    deliver(ledger)
    clock.pass_days(31)
    [judged] = ledger.retention.kept_series(ledger.retention.finished_series({S.DELIVERED}, clock()))
    assert ledger.retention.remove_series(
        judged, "gone"
    )  # and here the process dies, with one of the files removed already
    assert len(ledger.retention.pending_removals()) == 5
    (ledger.data / ledger.retention.pending_removals()[0]).unlink()
    retention.tick()
    assert files(ledger) == ledger.retention.pending_removals() == []


def test_nothing_outside_inbox_and_results_is_ever_removed(ledger, clock, retention, tmp_path, caplog):
    arrive(ledger, count=1)
    outside = tmp_path.parent / f"{tmp_path.name}-outside.dcm"
    for path in (outside, Path("inbox/../precious.dcm"), Path("precious.dcm"), Path("models/precious.dcm")):
        target = ledger.data / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"precious")
        with ledger.database.write() as connection:
            connection.exec_driver_sql("INSERT INTO removals (path) VALUES (?)", (str(path),))
    retention.tick()
    assert ledger.retention.pending_removals() == []
    assert outside.exists() and files(ledger)[-2:] == ["precious.dcm", "precious.dcm"]
    assert "it is not a folder of inbox or results" in caplog.text
    outside.unlink()


def test_a_file_that_cannot_be_removed_is_tried_again_and_stops_nothing(ledger, clock, retention, caplog):
    for series in ("1.2.3", "1.2.4"):
        arrive(ledger, series)
        deliver(ledger, series)
    clock.pass_days(31)
    stubborn = ledger.data / "inbox/1.2/1.2.3" / files(ledger)[0]
    stubborn.unlink()
    stubborn.mkdir()  # a folder in its place cannot be unlinked, not even by root
    retention.tick()
    assert "will be tried again" in caplog.text
    assert len(ledger.retention.pending_removals()) == 3 and not (ledger.data / "inbox/1.2/1.2.4").exists()
    stubborn.rmdir()
    clock.pass_days(1 / 1440)
    retention.tick()
    assert files(ledger) == ledger.retention.pending_removals() == []


def test_it_works_once_a_minute_and_a_bounded_number_at_a_time(ledger, clock, retention):
    for n in range(AT_ONCE + 3):
        arrive(ledger, f"1.2.3.{n}", count=1)
        deliver(ledger, f"1.2.3.{n}")
    clock.pass_days(31)
    retention.tick()
    assert sum(job.removed_at is not None for job in ledger.queries.jobs()) == AT_ONCE
    retention.tick()
    assert sum(job.removed_at is not None for job in ledger.queries.jobs()) == AT_ONCE
    clock.pass_days(1 / 1440)
    retention.tick()
    assert all(job.removed_at is not None for job in ledger.queries.jobs())


def test_the_supervisor_runs_retention(ledger, clock, tmp_path):
    arrive(ledger)
    deliver(ledger)
    clock.pass_days(31)
    settings = load_settings(None, node={"data": str(tmp_path)}, retention={"delivered_days": 30})
    Supervisor(ledger, settings, NobodyToWake()).tick()
    assert files(ledger) == []
