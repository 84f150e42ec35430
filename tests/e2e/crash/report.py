"""The figures of a crash run as Markdown and JSON."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from e2e.crash.end_state import DELIVERED, EndState
from e2e.crash.restarted_node import Target
from e2e.crash.study_plan import Expected


@dataclass(frozen=True)
class Times:
    """Durations, s: of the sending, and of the whole run until the queue was idle."""

    sending: float
    whole: float


@dataclass(frozen=True)
class Outcome:
    """One run: its title, its end state and its violations."""

    title: str
    end_state: EndState
    kills: Counter[Target]
    starts: int
    times: Times
    violations: list[str]

    def figures(self) -> dict[str, object]:
        """Return all counts and durations."""
        answers = [answer for send_log in self.end_state.send_logs.values() for answer in send_log.answers]
        acknowledged = [answer for answer in answers if answer.acknowledged]
        different = {
            (number, item) for number, send_log in self.end_state.send_logs.items() for item in send_log.acknowledged
        }
        results = {stored.sop_uid for stored in self.end_state.stored}
        return {
            "studies": len(self.end_state.studies),
            "objects sent": len(answers),
            "objects acknowledged": len(acknowledged),
            "of them for the first time": len(different),
            "objects refused permanently": sum(answer.refused for answer in answers),
            "objects without an answer or to be sent again": sum(answer.again for answer in answers),
            "objects in the ledger": len(self.end_state.rows),
            "of them variants": sum(row.variant != 0 for row in self.end_state.rows),
            "associations": sum(len(send_log.associations) for send_log in self.end_state.send_logs.values()),
            "of them lost": sum(
                not association.clean
                for send_log in self.end_state.send_logs.values()
                for association in send_log.associations
            ),
            "association requests without success": sum(
                send_log.unreachable for send_log in self.end_state.send_logs.values()
            ),
            "studies interrupted while they were sent": sum(
                self.end_state.send_logs[s.plan.number].interrupted(s.plan.patience) for s in self.end_state.studies
            ),
            "kills": self.kills.total(),
            "node starts": self.starts,
            "seconds of sending": round(self.times.sending, 1),
            "seconds until idle": round(self.times.whole, 1),
            "acknowledged objects per second": round(len(acknowledged) / max(self.times.sending, 0.1), 1),
            "jobs with more than one attempt": sum(job.attempts > 1 for job in self.end_state.jobs),
            "results at the PACS": len(results),
            "of them early, from a part of the slices": self._early(),
            "results received twice, with the same bytes": len(self.end_state.stored) - len(results),
            "violations": len(self.violations),
        }

    def _early(self) -> int:
        """Return how many results were made from a part of their series, without those planned in scenario LATE."""
        whole = [study for study in self.end_state.studies if study.plan.series[0].expected is Expected.DELIVERED]
        wanted = {study.series_uids[0]: study.plan.results for study in whole}
        delivered = Counter(job.series_uid for job in self.end_state.jobs if job.state in DELIVERED)
        return sum(max(0, delivered[uid] - results) for uid, results in wanted.items())

    def tables(self) -> dict[str, Counter[str]]:
        """Return the counts by scenario, killed part and final state, and the refusals."""
        return {
            "studies by scenario": Counter(str(study.plan.scenario) for study in self.end_state.studies),
            "kills by part": Counter({str(target): count for target, count in self.kills.items()}),
            "jobs by final state": Counter(f"{job.state} {job.code}".strip() for job in self.end_state.jobs),
            "refusals in the ledger": Counter(self.end_state.refusals),
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
