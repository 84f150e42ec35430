"""Reading jobs and their history."""

import pytest
from ledger_steps import delivering_job

from node.errors import UnknownJobError
from node.records.states import JobState

S = JobState


def test_history_counts_and_search(ledger):
    job_id = delivering_job(ledger)
    assert [event.state for event in ledger.queries.events(job_id)] == [
        "received", "complete", "queued", "running", "delivering",
    ]  # fmt: skip
    assert ledger.queries.counts()[S.DELIVERING] == 1
    assert ledger.queries.counts()[S.HELD] == 0
    assert [job.id for job in ledger.queries.jobs(search="1.2.3")] == [job_id]
    assert ledger.queries.jobs(search="1.2.3%") == []
    assert ledger.queries.jobs(S.HELD) == []
    with pytest.raises(UnknownJobError):
        ledger.queries.events("nobody")
