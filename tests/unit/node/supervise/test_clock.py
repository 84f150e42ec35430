"""A clock that is set back or forward: series, claims, deliveries and associations go on as if it had not been."""

import threading
from datetime import timedelta

import pytest
from ledger_steps import Clock, arrival, carry, delivering_job, evidence, only_job, running_job
from senders import association

from node.ledger import Ledger
from node.records.instances import Ending
from node.records.states import DeliveryState
from node.settings.settings import load_settings
from node.supervise.clock_watch import ClockWatch
from node.supervise.supervisor import Supervisor

HOUR = 3600
JUMPS = [-HOUR, HOUR, -86400, 86400]


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def settings(tmp_path):
    return load_settings(None, node={"data": tmp_path})


@pytest.fixture
def ledger(settings, clock):
    opened = Ledger.of(settings, clock)
    yield opened
    opened.close()


def set_clock(ledger, settings, clock, seconds):
    clock.push(seconds)
    ledger.clock_jumps.settle(settings, timedelta(seconds=seconds))


@pytest.mark.parametrize("seconds", JUMPS)
def test_a_series_is_as_quiet_and_has_waited_as_long_as_before(ledger, settings, clock, seconds):
    link = association()
    carry(ledger, link, 1)
    clock.push(5)
    carry(ledger, link, 2)
    ledger.associations.end(link.id, Ending.RELEASED)
    clock.push(4)
    set_clock(ledger, settings, clock, seconds)
    found = evidence(ledger)
    forward = seconds > 0
    assert (found.quiet, found.waited, found.ended) == ((4, 9, 4) if forward else (0, 0, 0))
    clock.push(11)
    assert evidence(ledger).quiet >= settings.intake.quiet_seconds


def test_a_slice_that_came_just_after_the_clock_was_set_forward_counts_from_then(ledger, settings, clock):
    ledger.instances.record(arrival(ledger, 1))
    clock.push(HOUR)
    ledger.instances.record(arrival(ledger, 2))
    clock.push(1)
    ledger.clock_jumps.settle(settings, timedelta(seconds=HOUR))
    assert evidence(ledger).quiet == 1


@pytest.mark.parametrize("seconds", JUMPS)
def test_a_claim_lasts_as_long_as_its_lease_and_no_longer(ledger, settings, clock, seconds):
    job_id = running_job(ledger)
    set_clock(ledger, settings, clock, seconds)
    assert ledger.queue.reap_expired(3) == []
    clock.push(31)
    assert ledger.queue.reap_expired(3) == [job_id]


@pytest.mark.parametrize("seconds", JUMPS)
def test_a_delivery_is_tried_again_soon(ledger, settings, clock, seconds):
    delivering_job(ledger)
    [delivery] = ledger.outbox.due(0)
    ledger.outbox.mark_dispatched(delivery)
    ledger.outbox.claim(delivery, "sender", 120)
    ledger.outbox.failed(delivery, "sender", "no answer", next_at=clock() + timedelta(seconds=15))
    set_clock(ledger, settings, clock, seconds)
    clock.push(15)
    assert ledger.outbox.due(15) == [delivery]


def test_a_sender_that_died_is_noticed(ledger, settings, clock):
    delivering_job(ledger)
    [delivery] = ledger.outbox.due(0)
    ledger.outbox.claim(delivery, "sender", 120)
    set_clock(ledger, settings, clock, -HOUR)
    assert only_job(ledger).deliveries[0].state is DeliveryState.SENDING
    clock.push(121)
    assert ledger.outbox.due(0) == [delivery]


@pytest.mark.parametrize("seconds", JUMPS)
def test_a_process_that_died_does_not_seem_alive_and_a_living_one_not_dead(ledger, settings, clock, seconds):
    ledger.processes.report("scp@here:1", "scp", "here", 1)
    clock.push(2)
    set_clock(ledger, settings, clock, seconds)
    [process] = ledger.processes.all()
    assert process.is_alive(clock(), timedelta(seconds=15))
    clock.push(16)
    assert not process.is_alive(clock(), timedelta(seconds=15))


def test_times_in_the_future_at_the_start_of_the_node_are_moved_to_now_and_others_stay(ledger, settings, clock):
    ledger.instances.record(arrival(ledger))
    assert ledger.clock_jumps.settle(settings) == 0
    clock.push(-HOUR)
    assert ledger.clock_jumps.settle(settings) == 2
    assert evidence(ledger).quiet == 0


def test_only_a_clock_that_is_set_counts_as_a_jump():
    clock, uptime = Clock(), [100.0]
    watch = ClockWatch(clock, lambda: uptime[0])
    for wall, passed, jump in ((5, 5, 0), (6.5, 5, 0), (6, 5, 2.5), (0, 0, 0), (-3600, 0.5, -3600.5), (5, 5, 0)):
        clock.push(wall)
        uptime[0] += passed
        assert watch.jump() == timedelta(seconds=jump)


def test_the_running_supervisor_notices_that_the_clock_was_set_back(ledger, settings, clock, poll):
    ledger.instances.record(arrival(ledger))
    stop = threading.Event()
    supervisor = Supervisor(ledger, settings, None)
    thread = threading.Thread(target=supervisor.run, args=(stop, 0.02))
    thread.start()
    try:
        clock.push(-HOUR)
        poll(lambda: only_job(ledger).last_slice_at == clock())
    finally:
        stop.set()
        thread.join()
