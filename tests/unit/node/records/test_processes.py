"""How long a process may be silent before it counts as dead."""

from datetime import UTC, datetime, timedelta

import pytest

from node.records.processes import Process, ProcessKind, allowed_silence, process_name

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(("silent", "alive"), [(0, True), (15, True), (15.001, False), (-3, True)])
def test_a_process_is_alive_until_its_silence_is_longer_than_allowed(silent, alive):
    process = Process("scp@here:1", ProcessKind.SCP, "here", 1, NOON, NOON)
    assert process.is_alive(NOON + timedelta(seconds=silent), allowed_silence(5)) is alive


def test_three_heartbeats_may_be_missed():
    assert allowed_silence(5) == timedelta(seconds=15)
    assert allowed_silence(1, at_least=15) == timedelta(seconds=15)
    assert allowed_silence(10, at_least=15) == timedelta(seconds=30)


def test_the_name_of_a_process_begins_with_its_kind():
    assert process_name(ProcessKind.SEGMENT_WORKER).startswith("worker-segment@")
