"""Deliveries to peers that stall, answer late or lose their name: what is sent again, and who waits."""

import socket
import threading
import time
from dataclasses import replace
from datetime import timedelta

import pytest
from find_scp import FindScp, match
from ledger_steps import RunningClock, finish_job, write_result
from odd_peer import acceptance, late, objects_only, storing
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from senders import association

from node.files.disk_space import DiskSpaceStatus, Level
from node.hosts import HOSTS
from node.ledger import Ledger
from node.records.instances import Arrival, Header
from node.records.jobs import Decision
from node.records.processes import ProcessKind
from node.records.states import DeliveryState, JobState
from node.run.health import assess
from node.scu.delivery import deliver
from node.scu.stop_signal import StopSignal
from node.settings.settings import load_settings

S = DeliveryState


@pytest.fixture
def clock():
    return RunningClock()


@pytest.fixture
def site(tmp_path, clock):
    """Return a function that makes settings and ledger for these peers."""
    opened = []

    def make(*peers, **delivery):
        settings = load_settings(
            None,
            node={"data": tmp_path / "data"},
            peers=[peer.model_dump() for peer in peers],
            delivery={"backoff_seconds": [5], "max_attempts": 5, "timeout_seconds": 1} | delivery,
        )
        opened.append(Ledger.of(settings, clock))
        return settings, opened[-1]

    yield make
    for ledger in opened:
        ledger.close()


def finished_job(settings, ledger, names=("seg.dcm",)):
    header = Header(generate_uid(), generate_uid(), generate_uid(), CTImageStorage, modality="CT")
    ledger.instances.record(Arrival(header, ExplicitVRLittleEndian, "x", "0", 1, association()))
    [found] = ledger.queries.jobs(JobState.RECEIVED)
    ledger.decisions.apply(found.id, Decision(JobState.COMPLETE))
    ledger.decisions.apply(found.id, Decision(JobState.QUEUED, destinations=settings.peer_names))
    assert ledger.queue.claim(found.id, "worker", 30)
    keys = [f"results/{found.id}/{name}" for name in names]
    assert finish_job(ledger, found.id, "worker", [write_result(settings.data / key, key) for key in keys], {})
    return found.id


def rows(ledger, job_id, peer="odd"):
    return [row for row in ledger.queries.job(job_id).deliveries if row.peer == peer]


def test_a_frozen_peer_takes_two_threads_and_the_others_get_their_results(site, start_odd, clock):
    frozen = start_odd(lambda talk, body: (talk.say(acceptance(body)), talk.stall()))
    good = start_odd(storing())
    settings, ledger = site(frozen.peer, good.peer.model_copy(update={"name": "good"}), timeout_seconds=30)
    jobs = [finished_job(settings, ledger) for _ in range(4)]
    stop = StopSignal()
    to_frozen = [rows(ledger, job)[0].id for job in jobs]
    threads = [
        threading.Thread(target=deliver, args=(ledger, settings, number, f"w{number}", stop)) for number in to_frozen
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 20
    while sum(thread.is_alive() for thread in threads) > 2 or frozen.associations < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not set(to_frozen) & set(ledger.outbox.due(0)), "its peer is busy: nobody is woken for it"
    for job in jobs:
        deliver(ledger, settings, rows(ledger, job, "good")[0].id, f"good {job}")
    assert len(good.stored) == 4
    began = time.monotonic()
    stop.set()
    for thread in threads:
        thread.join(10)
    assert time.monotonic() - began < 5
    assert [rows(ledger, job)[0].state for job in jobs] == [S.WAITING] * 4
    assert [rows(ledger, job)[0].attempts for job in jobs] == [0] * 4
    assert set(ledger.outbox.due(0)) == set(to_frozen), "after a restart they are sent at once"


def test_the_wait_for_a_slow_peer_grows_until_it_is_long_enough(site, start_odd, clock):
    slow = start_odd(late(1.5))
    settings, ledger = site(slow.peer)
    job = finished_job(settings, ledger, ["seg.dcm", "sr.dcm"])
    first = rows(ledger, job)[0]
    deliver(ledger, settings, first.id, "a")
    found = rows(ledger, job)
    assert [row.unanswered for row in found] == [1, 0]
    assert "did not answer C-STORE" in found[0].reason and "[delivery] timeout_seconds" in found[0].reason
    clock.offset += timedelta(seconds=6)
    deliver(ledger, settings, first.id, "b")
    assert ledger.queries.job(job).state is JobState.DELIVERED
    assert len(slow.stored) == 3, "the first object twice, the second once"
    another = finished_job(settings, ledger)
    deliver(ledger, settings, rows(ledger, another)[0].id, "c")
    assert ledger.queries.job(another).state is JobState.DELIVERED, "the next job waits long enough from the start"


@pytest.mark.parametrize("arrived", [True, False])
def test_an_object_that_may_have_arrived_is_asked_for_before_it_is_sent_again(site, clock, arrived):
    asked = []

    def answers(identifier):
        asked.append((identifier.QueryRetrieveLevel, str(identifier.SOPInstanceUID)))
        if arrived:
            yield match(identifier)

    archive = FindScp(answers)
    try:
        settings, ledger = site(archive.peer.model_copy(update={"name": "odd"}))
        job = finished_job(settings, ledger)
        [row] = rows(ledger, job)
        assert ledger.outbox.claim(row.id, "killed", 60)
        clock.offset += timedelta(seconds=61)
        deliver(ledger, settings, row.id, "b")
    finally:
        archive.stop()
    assert asked == [("IMAGE", row.result.sop_uid)]
    [after] = rows(ledger, job)
    # The archive takes no C-STORE: what it does not have, it refuses.
    assert after.state is (S.DELIVERED if arrived else S.FAILED)


def test_a_peer_without_c_find_is_sent_the_object_again(site, clock, start_odd):
    odd = start_odd(storing(contexts=objects_only))
    settings, ledger = site(odd.peer)
    job = finished_job(settings, ledger)
    [row] = rows(ledger, job)
    assert ledger.outbox.claim(row.id, "killed", 60)
    clock.offset += timedelta(seconds=61)
    deliver(ledger, settings, row.id, "b")
    assert ledger.queries.job(job).state is JobState.DELIVERED
    assert odd.stored == [row.result.sop_uid]


def test_a_cancelled_job_ends_its_stalled_association(site, start_odd):
    frozen = start_odd(lambda talk, body: (talk.say(acceptance(body)), talk.stall()))
    settings, ledger = site(frozen.peer, timeout_seconds=60, lease_seconds=1)
    job = finished_job(settings, ledger)
    sender = threading.Thread(target=deliver, args=(ledger, settings, rows(ledger, job)[0].id, "a"))
    sender.start()
    while not frozen.associations:
        time.sleep(0.05)
    ledger.operator.cancel(job, "tester")
    sender.join(10)
    assert not sender.is_alive()
    assert rows(ledger, job)[0].state is S.CANCELLED


def test_a_peer_whose_name_stops_resolving_is_sent_to_at_its_last_address(site, start_odd, monkeypatch):
    odd = start_odd(storing())
    settings, ledger = site(odd.peer.model_copy(update={"host": "archive.test"}))
    works = True

    def resolve(_host, _port, **_options):
        if not works:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr("node.hosts.LOOKUP_SECONDS", 0.0)
    monkeypatch.setattr("node.hosts.RETRY_SECONDS", 0.0)
    HOSTS._entries.pop("archive.test", None)
    for works in (True, False):
        job = finished_job(settings, ledger)
        deliver(ledger, settings, rows(ledger, job)[0].id, f"sender {works}")
        assert ledger.queries.job(job).state is JobState.DELIVERED
    odd.stop()
    job = finished_job(settings, ledger)
    deliver(ledger, settings, rows(ledger, job)[0].id, "c")
    [row] = rows(ledger, job)
    assert row.state is S.WAITING
    assert "does not resolve at present; tried its last address 127.0.0.1" in row.reason


def test_health_tells_what_is_due_by_its_age(site, start_odd, clock):
    def health():
        processes = [replace(process, last_seen=ledger.now()) for process in ledger.processes.all()]
        return assess(processes, ledger.now(), 5, fine, backlogs=ledger.outbox.backlogs())

    frozen = start_odd(lambda talk, body: talk.stall())
    settings, ledger = site(frozen.peer)
    fine = DiskSpaceStatus(Level.OK, "enough")
    for number, kind in enumerate(ProcessKind):
        ledger.processes.report(f"{kind}:{number}", kind, "here", number)
    job = finished_job(settings, ledger)
    assert (health().stale, health().warnings) == ((), ())
    clock.offset += timedelta(minutes=4)
    assert health().stale == ("results for odd have been due for 240 s and nobody sends them",)
    deliver(ledger, settings, rows(ledger, job)[0].id, "a")
    assert health().stale == ()
    [warning] = health().warnings
    assert warning.startswith("odd has not taken 1 result, the oldest due for 4 min: odd (ODD at 127.0.0.1:")
