"""The figures of a crash run as Markdown and JSON."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from e2e.crash.facts import DELIVERED, Facts
from e2e.crash.node_under_fire import Target
from e2e.crash.plan import Fate


@dataclass(frozen=True)
class Times:
    """How long it took, s: to send everything, and until the queue was quiet."""

    sending: float
    whole: float


@dataclass(frozen=True)
class Outcome:
    """One run: what it was, what there is at the end, and what is wrong with it."""

    title: str
    facts: Facts
    kills: Counter[Target]
    starts: int
    times: Times
    violations: list[str]

    def figures(self) -> dict[str, object]:
        """Return everything countable."""
        answers = [answer for trace in self.facts.traces.values() for answer in trace.answers]
        acknowledged = [answer for answer in answers if answer.acknowledged]
        different = {(number, item) for number, trace in self.facts.traces.items() for item in trace.acknowledged}
        results = {stored.sop_uid for stored in self.facts.stored}
        return {
            "studies": len(self.facts.studies),
            "objects sent": len(answers),
            "objects acknowledged": len(acknowledged),
            "of them for the first time": len(different),
            "objects refused for good": sum(answer.refused for answer in answers),
            "objects without an answer or to be sent again": sum(answer.again for answer in answers),
            "objects in the ledger": len(self.facts.rows),
            "of them variants": sum(row.variant != 0 for row in self.facts.rows),
            "associations": sum(len(trace.links) for trace in self.facts.traces.values()),
            "of them lost": sum(not link.clean for trace in self.facts.traces.values() for link in trace.links),
            "association requests in vain": sum(trace.unreachable for trace in self.facts.traces.values()),
            "studies interrupted while they were sent": sum(
                self.facts.traces[s.plan.number].interrupted(s.plan.patience) for s in self.facts.studies
            ),
            "kills": self.kills.total(),
            "starts of the node": self.starts,
            "seconds of sending": round(self.times.sending, 1),
            "seconds until quiet": round(self.times.whole, 1),
            "acknowledged objects per second": round(len(acknowledged) / max(self.times.sending, 0.1), 1),
            "jobs with more than one attempt": sum(job.attempts > 1 for job in self.facts.jobs),
            "results at the PACS": len(results),
            "of them early, of a part of the slices": self._early(),
            "results that came twice, with the same bytes": len(self.facts.stored) - len(results),
            "violations": len(self.violations),
        }

    def _early(self) -> int:
        """Return how many results were made of a part of their series, without those that a late slice made so."""
        whole = [study for study in self.facts.studies if study.plan.series[0].fate is Fate.DELIVERED]
        wanted = {study.series_uids[0]: study.plan.results for study in whole}
        delivered = Counter(job.series_uid for job in self.facts.jobs if job.state in DELIVERED)
        return sum(max(0, delivered[uid] - results) for uid, results in wanted.items())

    def tables(self) -> dict[str, Counter[str]]:
        """Return the counts by manner, by killed part, by final state, and of refusals."""
        return {
            "studies by manner": Counter(str(study.plan.manner) for study in self.facts.studies),
            "kills by part": Counter({str(target): count for target, count in self.kills.items()}),
            "jobs by final state": Counter(f"{job.state} {job.code}".strip() for job in self.facts.jobs),
            "refusals in the ledger": Counter(self.facts.refusals),
        }

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return {"title": self.title, "figures": self.figures(), "tables": self.tables(), "violations": self.violations}

    def markdown(self) -> str:
        """Return a section of a document."""
        lines = [f"## {self.title}", "", *_table("", self.figures().items())]
        for name, counts in self.tables().items():
            lines += ["", *_table(name, sorted(counts.items()))]
        if self.violations:
            lines += ["", "### Violations", "", *(f"- {sentence}" for sentence in self.violations)]
        return "\n".join(lines) + "\n"


def _table(name: str, rows: Iterable[tuple[str, object]]) -> list[str]:
    return [f"| {name} | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows)]
