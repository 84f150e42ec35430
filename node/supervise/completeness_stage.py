"""The supervisor's stage for series that are still arriving: which are judged in this tick, and what is decided."""

from dataclasses import replace

from node.decide.completeness import Phase, judge, too_early
from node.decide.scan import scan_of
from node.ledger import Ledger
from node.records.jobs import Decision, Receiving
from node.records.states import JobState
from node.settings.settings import Settings
from node.supervise.image_count_query import ImageCountQuery

Key = tuple[int, Phase, bool]


class CompletenessStage:
    """Judges series whose slices are arriving; headers are read again only when the decision could change."""

    def __init__(self, ledger: Ledger, settings: Settings) -> None:
        self._ledger = ledger
        self._rules = settings.intake
        peer = settings.peer(settings.intake.expect_peer)
        timeout = settings.intake.quiet_seconds
        self._query = None if peer is None else ImageCountQuery(ledger, peer, settings.node.ae_title, timeout)
        self._judged: dict[str, Key] = {}
        self._sizes: dict[str, int] = {}

    def due(self) -> list[Receiving]:
        """Return the receiving jobs in which something has changed, or a time limit passed, since they were judged."""
        if self._query:
            self._query.exchange(self._sizes)
        receiving = self._ledger.decisions.receiving(self._rules.expect_peer)
        if self._query:
            for job in receiving:
                if (job.evidence.expected or 0) > job.instances:
                    self._query.ask_again(job)
        self._judged = {job.id: self._judged[job.id] for job in receiving if job.id in self._judged}
        found = [job for job in receiving if self._judged.get(job.id) != self._key(job) and not self._is_moving(job)]
        self._sizes = {job.id: job.instances for job in receiving}
        return found

    def judge(self, job: Receiving) -> Decision:
        """Decide about one job. Raises LedgerError."""
        key = self._key(job)
        decision = too_early(key[1], self._rules) or self._look(job)
        if decision.state is JobState.COMPLETE:
            self._describe(job)
        if decision.state is job.state:  # any other decision is carried out, or must be made again
            self._judged[job.id] = key
        return decision

    def _look(self, job: Receiving) -> Decision:
        headers = self._ledger.instances.headers_of(job.id)
        evidence = replace(job.evidence, other_study=self._ledger.instances.shares_series_uid(job.id))
        decision = judge(headers, evidence, self._rules)
        if self._query is None or job.evidence.forced or self._query.settled(job):
            return decision
        # While the series waits for something else, the peer can be asked already if the series looks complete.
        looks = judge(headers, replace(evidence, quiet=self._rules.quiet_seconds, expected=None), self._rules)
        if looks.state is not JobState.COMPLETE:
            return decision
        self._query.ask(job)
        if decision.state is not JobState.COMPLETE:
            return decision
        sentence = f"waiting: {self._rules.expect_peer} is asked how many images the series has"
        return Decision(JobState.RECEIVED, reason=sentence)

    def _describe(self, job: Receiving) -> None:
        """Have the ledger describe the series by its scan, where a localiser or a page came first."""
        headers = self._ledger.instances.headers_of(job.id)
        images = scan_of(headers).images
        if images and headers[0] not in images:
            self._ledger.instances.describe(job.id, images[0])

    def _key(self, job: Receiving) -> Key:
        settled = self._query is not None and self._query.settled(job)
        return job.instances, Phase.of(job.evidence, self._rules), settled

    def _is_moving(self, job: Receiving) -> bool:
        """Tell whether the headers need not be read before the next tick, because slices came since the last one.

        A series of a sender with one association per image would otherwise be read twice a second.
        """
        phase = Phase.of(job.evidence, self._rules)
        in_grace = phase.gone and not (phase.settled or phase.quiet or phase.late or phase.forced)
        return in_grace and self._sizes.get(job.id) != job.instances
