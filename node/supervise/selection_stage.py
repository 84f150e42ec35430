"""The supervisor's stage for complete series: it routes them, and queues only the best series of a study."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from node.decide.candidate import Candidate
from node.decide.completeness import Phase
from node.decide.ranking import passed_over, rank
from node.decide.routing import route
from node.ledger import Ledger
from node.records.jobs import Decision, Job, series_name
from node.records.states import JobState
from node.settings.settings import Settings

STARTED = frozenset({JobState.RUNNING, JobState.DELIVERING, JobState.DELIVERED, JobState.COMMITTED})
CHOSEN = STARTED | {JobState.QUEUED}


class SelectionStage:
    """Decides about complete jobs from what the ledger says of the whole study.

    Rivals are the series of a study that the same route accepted. The best is queued first, and the others are declined
    afterwards: a stop in between can leave too many of them in the queue, but never none.
    """

    def __init__(self, ledger: Ledger, settings: Settings) -> None:
        self._ledger = ledger
        self._settings = settings
        self._known: dict[tuple[str, int], Candidate] = {}
        self._outranked: list[Job] = []

    def due(self) -> Iterator[Job]:
        """Yield the complete jobs, the oldest first, then those in the queue for which a better series was queued."""
        complete = self._ledger.queries.in_state(JobState.COMPLETE)
        if not complete:
            self._known.clear()
        self._outranked = []
        yield from complete
        yield from self._outranked

    def judge(self, job: Job) -> Decision:
        """Decide about a complete job, or a queued one that is outranked. The job's own state: no change.

        Raises LedgerError.
        """
        waiting = job.state is JobState.COMPLETE
        decision = self._routed(job) if waiting else Decision(job.state, reason=job.reason, route=job.route)
        alone = self._settings.intake.series_per_study == "all" or job.forced or job.study_uid is None
        if decision.state is not JobState.QUEUED or alone:
            return decision
        study = [
            other for other in self._ledger.queries.of_study(job.study_uid or "") if other.series_uid != job.series_uid
        ]
        arriving = self._arriving() if waiting else set()
        late = next((other for other in study if other.id in arriving and other.modality == "CT"), None)
        if waiting and late is not None:
            name = series_name(late.description, late.series_uid or "")
            return Decision(
                job.state, reason=f"waiting: series {name} still arrives, and the best of the study is chosen"
            )
        return self._select(job, decision, [other for other in study if self._is_rival(other, decision.route)])

    def _select(self, job: Job, decision: Decision, rivals: Sequence[Job]) -> Decision:
        jobs = {known.series_uid: known for known in sorted((job, *rivals), key=lambda j: (j.received_at, j.id))}
        ranked = rank([self._candidate(known) for known in jobs.values()])
        best = jobs[ranked[0].candidate.series_uid]
        if best is job:
            others = [(jobs[p.candidate.series_uid], p.why) for p in ranked[1:]]
            return self._queue_best(decision, others) if job.state is JobState.COMPLETE else decision
        if best.state not in CHOSEN:
            return Decision(job.state, reason=job.reason)  # declined once the best is queued, in its own turn
        return passed_over(ranked, decision.route)[job.series_uid or ""]

    def _queue_best(self, decision: Decision, others: Sequence[tuple[Job, str]]) -> Decision:
        """Queue the best series; a rival that a worker has started before is kept."""
        self._outranked += [other for other, _ in others if other.state is JobState.QUEUED and not other.forced]
        started = next(((other, why) for other, why in others if other.state in STARTED), None)
        if started is None:
            return decision
        name = self._candidate(started[0]).name
        sentence = f"it came later and is better than series {name}, which is segmented, too: {started[1]}"
        return replace(decision, reason=sentence)

    def _is_rival(self, other: Job, name: str) -> bool:
        if other.state in CHOSEN:
            accepted = other.route == name and not other.finding
        elif other.state is JobState.COMPLETE:
            decision = self._routed(other)
            accepted = (decision.state, decision.route) == (JobState.QUEUED, name)
        else:
            return False
        return accepted and self._candidate(other).slices > 0

    def _arriving(self) -> set[str]:
        """Return the jobs of series that may still become rivals: their senders still send, within the time limit.

        A series whose sender has released without sending all of it is not waited for.
        """
        rules = self._settings.intake
        phases = (
            (job.id, Phase.of(job.evidence, rules)) for job in self._ledger.decisions.receiving(rules.expect_peer)
        )
        return {job_id for job_id, phase in phases if not (phase.settled or phase.quiet or phase.late)}

    def _routed(self, job: Job) -> Decision:
        return route(self._candidate(job), self._settings)

    def _candidate(self, job: Job) -> Candidate:
        """Return what is known of a job's series; its headers are read once."""
        key = job.id, job.instances
        if key not in self._known:
            self._known[key] = Candidate.of(job, self._ledger.instances.headers_of(job.id))
        return self._known[key]
