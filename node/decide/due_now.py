"""What the present settings ask for a job that is to be retried: a pure decision from its series and its results."""

from collections.abc import Sequence
from dataclasses import dataclass

from node.decide.candidate import Candidate
from node.decide.recipients import recipients
from node.decide.routing import route
from node.records.instances import Header
from node.records.jobs import Decision, Job
from node.settings.settings import Settings


@dataclass(frozen=True)
class DueNow:
    """The decision of the present routes. owed: each result, by its key, with the peers that are to have it."""

    decision: Decision
    owed: dict[str, tuple[str, ...]]


def due_now(job: Job, headers: Sequence[Header], settings: Settings) -> DueNow:
    """Return what the present settings ask for, whatever was owed when the job was segmented."""
    decision = route(Candidate.of(job, headers), settings)
    peers, wanted = decision.destinations or (), settings.wanted_kinds
    owed = {result.key: recipients(result, job.results, peers, wanted) for result in job.results}
    return DueNow(decision, owed)
