"""The formats of times, sizes and states on the page."""

from datetime import UTC, datetime, timedelta

import pytest

from node.records.states import DeliveryState, JobState
from node.web.format import MEANINGS, STATE_CLASSES, age, clock, duration, size, state_class


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"),
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (86400 * 4 + 3 * 3600 + 59, "4 d 3 h"),
    ],
)
def test_duration_has_two_units_at_most(seconds, text):
    assert duration(seconds) == text


def test_age_and_clock():
    moment = datetime(2026, 3, 1, 12, 0, 5, tzinfo=UTC)
    assert age(moment, moment + timedelta(seconds=65)) == "1 min 5 s ago"
    assert clock(moment) == "2026-03-01 12:00:05 UTC"


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2_300_000, "2.3 MB"), (5_000_000_000, "5.0 GB")]
)
def test_size(count, text):
    assert size(count) == text


def test_every_state_has_a_colour_and_a_meaning():
    assert {state_class(state) for state in (*JobState, *DeliveryState)} == {"wait", "work", "good", "warn", "bad"}
    assert set(STATE_CLASSES) == {*JobState, *DeliveryState}
    assert set(MEANINGS) == set(JobState)
    assert state_class(JobState.FAILED) == "bad"
    assert state_class("an unknown state") == "wait"
