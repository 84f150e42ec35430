"""The watchdog over the segmenting child: when it kills, and what the parent says meanwhile."""

import os
import subprocess
import sys

import pytest

from worker.watchdog import START_SECONDS, VARIABLE, Pulse, Watchdog

LIMIT = 60.0


class Now:
    """A clock of the test."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def child():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


class StubPulse:
    """The last sign of life, as the test sets it."""

    def __init__(self, pid: int, at: float) -> None:
        self.pid, self.at = pid, at

    def last(self) -> tuple[int, float]:
        return self.pid, self.at


def seconds_pass(watchdog, now, seconds):
    for _ in range(seconds):
        now.time += 1
        watchdog.look()


def test_a_child_whose_pulse_stops_is_killed_and_the_parent_is_not_healthy_until_another_one_beats(child):
    now, living = Now(), [child.pid]
    pulse = StubPulse(child.pid, now.time)
    watchdog = Watchdog(pulse, lambda: living, LIMIT, now)
    seconds_pass(watchdog, now, 60)
    assert watchdog.healthy and child.poll() is None
    seconds_pass(watchdog, now, 1)
    assert child.wait(10) == -9
    assert not watchdog.healthy
    living[:] = [child.pid + 1]
    seconds_pass(watchdog, now, 30)
    assert not watchdog.healthy  # the new one loads its model
    pulse.pid, pulse.at = child.pid + 1, now.time
    seconds_pass(watchdog, now, 1)
    assert watchdog.healthy


def test_a_child_may_take_long_to_its_first_pulse_but_not_for_ever(child):
    now = Now()
    watchdog = Watchdog(StubPulse(0, 0.0), lambda: [child.pid], LIMIT, now)
    seconds_pass(watchdog, now, int(START_SECONDS))
    assert child.poll() is None
    seconds_pass(watchdog, now, 2)
    assert child.wait(10) == -9


def test_a_child_that_was_paused_together_with_its_parent_gets_time_to_beat(child):
    now = Now()
    watchdog = Watchdog(StubPulse(child.pid, now.time), lambda: [child.pid], LIMIT, now)
    now.time += 3600
    watchdog.look()
    assert watchdog.healthy and child.poll() is None
    seconds_pass(watchdog, now, 61)
    assert child.wait(10) == -9


def test_a_child_process_finds_the_page_of_its_parent(monkeypatch):
    monkeypatch.setenv(VARIABLE, "")
    pulse = Pulse.create()
    code = "from worker.watchdog import Pulse; Pulse.of_parent().beat()"
    child = subprocess.Popen([sys.executable, "-c", code], env=os.environ)
    assert child.wait(60) == 0
    assert pulse.last()[0] == child.pid
