"""The supervisor's arm for series that still arrive: whose turn it is to be looked at, and what is decided then."""

from dataclasses import replace

from node.decide.completeness import Phase, judge, too_early
from node.ledger import Ledger
from node.records.jobs import Decision, Receiving
from node.records.states import JobState
from node.settings.settings import Settings
from node.supervise.image_count_query import Inquiry

Key = tuple[int, Phase, bool]


class Arriving:
    """Remembers what was judged, so that headers are read again only when the decision could be another one."""

    def __init__(self, ledger: Ledger, settings: Settings) -> None:
        self._ledger = ledger
        self._rules = settings.intake
        peer = settings.peer(settings.intake.expect_peer)
        patience = settings.intake.quiet_seconds
        self._inquiry = None if peer is None else Inquiry(ledger, peer, settings.node.ae_title, patience)
        self._judged: dict[str, Key] = {}
        self._sizes: dict[str, int] = {}

    def due(self) -> list[Receiving]:
        """Return the receiving jobs about which something has changed, or a time has passed, since they were judged."""
        if self._inquiry:
            self._inquiry.exchange(self._sizes)
        receiving = self._ledger.decisions.receiving(self._rules.expect_peer)
        if self._inquiry:
            for job in receiving:
                if (job.evidence.expected or 0) > job.instances:
                    self._inquiry.ask_again(job)
        self._judged = {job.id: self._judged[job.id] for job in receiving if job.id in self._judged}
        found = [job for job in receiving if self._judged.get(job.id) != self._key(job) and not self._is_moving(job)]
        self._sizes = {job.id: job.instances for job in receiving}
        return found

    def judge(self, job: Receiving) -> Decision:
        """Decide about one job. Raises LedgerError."""
        key = self._key(job)
        decision = too_early(key[1], self._rules) or self._look(job)
        if decision.state is job.state:  # any other one is carried out, or must be made again
            self._judged[job.id] = key
        return decision

    def _look(self, job: Receiving) -> Decision:
        headers = self._ledger.instances.headers_of(job.id)
        decision = judge(headers, job.evidence, self._rules)
        if self._inquiry is None or job.evidence.forced or self._inquiry.settled(job):
            return decision
        # While the series waits for something else, the peer can be asked already, provided that it looks whole.
        looks = judge(headers, replace(job.evidence, quiet=self._rules.quiet_seconds, expected=None), self._rules)
        if looks.state is not JobState.COMPLETE:
            return decision
        self._inquiry.ask(job)
        if decision.state is not JobState.COMPLETE:
            return decision
        sentence = f"waiting: {self._rules.expect_peer} is asked how many images the series has"
        return Decision(JobState.RECEIVED, reason=sentence)

    def _key(self, job: Receiving) -> Key:
        settled = self._inquiry is not None and self._inquiry.settled(job)
        return job.instances, Phase.of(job.evidence, self._rules), settled

    def _is_moving(self, job: Receiving) -> bool:
        """Tell whether a look at the headers can wait for the next tick, because slices came since the last one.

        To a sender with one association per image it would otherwise be looked at twice a second.
        """
        phase = Phase.of(job.evidence, self._rules)
        in_grace = phase.gone and not (phase.settled or phase.quiet or phase.late or phase.forced)
        return in_grace and self._sizes.get(job.id) != job.instances
