"""Job ids."""

from datetime import UTC, datetime, timedelta

from node.ledger.ids import new_job_id


def test_ids_sort_by_time_and_are_safe_in_paths():
    start = datetime(2026, 1, 1, tzinfo=UTC)
    ids = [new_job_id(start + timedelta(milliseconds=n)) for n in (0, 1, 40, 5000, 10**10)]
    assert ids == sorted(ids)
    assert all(len(i) == 14 and i.isalnum() and i == i.lower() for i in ids)
