"""How the page words times, sizes and states."""

from datetime import UTC, datetime, timedelta

import pytest

from node.records.states import DeliveryState, JobState
from node.web.format import MEANINGS, TONES, age, clock, size, span, tone


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
def test_span_has_two_units_at_most(seconds, text):
    assert span(seconds) == text


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
    assert {tone(state) for state in (*JobState, *DeliveryState)} == {"wait", "work", "good", "look", "bad"}
    assert set(TONES) == {*JobState, *DeliveryState}
    assert set(MEANINGS) == set(JobState)
    assert tone(JobState.FAILED) == "bad"
    assert tone("a state of the future") == "wait"
