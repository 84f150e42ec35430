"""What is wrong at the end of a crash run: a pure function of the facts; an empty list means nothing was lost."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from e2e.crash.facts import DELIVERED, FINISHED, Facts, JobRow, Row
from e2e.crash.pacs import Stored
from e2e.crash.plan import Fate, Form, Item
from e2e.crash.senders import Trace
from e2e.crash.studies import Study, result_uid

CANNOT_UNDERSTAND = 0xC000
PASSED_OVER = {("cancelled", "superseded")}  # what a revision without a result is when a later one has taken its place
BY_INTERRUPTION = {("declined", "too-short")}  # and what it may be if the sending broke off before it


def violations(facts: Facts) -> list[str]:
    """Return one sentence for each broken promise."""
    return [*_of_all(facts), *(sentence for study in facts.studies for sentence in _Court(facts, study).sentences())]


def _of_all(facts: Facts) -> Iterator[str]:
    """What belongs to no single study."""
    yield from (f"left behind: {name}" for name in facts.leftovers)
    yield from (f"does not answer: {sentence}" for sentence in facts.complaints)
    planned = {uid for study in facts.studies for uid in study.series_uids}
    yield from (
        f"the ledger has a series nobody sent: {uid}" for uid in {row.series_uid for row in facts.rows} - planned
    )
    for job in facts.jobs:
        if job.state not in FINISHED:
            yield f"job {job.id} is {job.state} for ever ({job.reason or 'no reason'})"
        if job.open_deliveries:
            yield f"job {job.id} has {job.open_deliveries} deliveries open for ever"
        if job.state == "failed":
            yield f"job {job.id} failed: {job.reason}"
    studies = {study.uid for study in facts.studies}
    yield from (
        f"the PACS has a result of a study nobody sent: {s.sop_uid}" for s in facts.stored if s.study_uid not in studies
    )
    refused = sum(answer.status == CANNOT_UNDERSTAND for trace in facts.traces.values() for answer in trace.answers)
    noted = facts.refusals.get("broken-object", 0)
    if noted < refused:
        yield f"{refused} objects were refused as broken, but the ledger knows of {noted}"


@dataclass(frozen=True)
class _Court:
    """One study's part."""

    facts: Facts
    study: Study

    def sentences(self) -> Iterator[str]:
        plan = self.study.plan
        for sentence in (*self._objects(), *self._series(), *self._pacs()):
            yield f"study {plan.number} ({plan.manner}): {sentence}"

    @property
    def trace(self) -> Trace:
        return self.facts.traces.get(self.study.plan.number, Trace())

    def _objects(self) -> Iterator[str]:
        """Every object is acknowledged and here, or refused and not; nothing else is here."""
        rows = {(row.sop_uid, row.sha256): row for row in self._rows()}
        if len(rows) != len(self._rows()):
            yield "the ledger has the same object twice"
        known = {(sent.sop_uid, sent.sha256) for sent in self.study.objects.values()}
        yield from (
            f"the ledger has an object nobody sent: {uid}" for uid, digest in rows if (uid, digest) not in known
        )
        refused = {answer.item for answer in self.trace.answers if answer.refused}
        for item, sent in sorted(self.study.objects.items()):
            row = rows.get((sent.sop_uid, sent.sha256))
            taken = item in self.trace.acknowledged
            if taken and row is None:
                yield f"{_name(item)} was acknowledged but is not in the ledger"
            if row is not None and row.on_disk != row.sha256:
                yield f"{_name(item)} is {'damaged' if row.on_disk else 'not'} on disk"
            if row is not None and row.variant != 0 and item.form is not Form.VARIANT:
                yield f"{_name(item)} came first but is not the one that is used"
            match item.form:
                case Form.TRUE if not taken:
                    yield f"{_name(item)} was {'refused' if item in refused else 'never acknowledged'}"
                case Form.BROKEN if taken or item not in refused:
                    yield f"{_name(item)} was not refused"
                case Form.VARIANT if not taken and item not in refused:
                    yield f"{_name(item)} was never answered"

    def _series(self) -> Iterator[str]:
        for number, (uid, series) in enumerate(zip(self.study.series_uids, self.study.plan.series, strict=True)):
            jobs = [job for job in self.facts.jobs if job.series_uid == uid]
            if not jobs:
                yield f"series {number} has no job"
                continue
            yield from (
                f"series {number}: {sentence}"
                for sentence in self._course(jobs, series.fate, self._interrupted(number))
            )
            used = [row for row in self.facts.rows if row.series_uid == uid and row.variant == 0]
            if jobs[-1].instances != len(used):
                yield f"series {number}: its job counts {jobs[-1].instances} objects, the ledger has {len(used)}"

    def _course(self, jobs: list[JobRow], fate: Fate, interrupted: bool) -> Iterator[str]:
        """The last revision has the series' fate; those before it were passed over, or are results of their own."""
        last = jobs[-1]
        right = last.state in DELIVERED if fate is Fate.DELIVERED else last.code == fate
        if fate is not Fate.DELIVERED:
            right = right and last.state == ("held" if fate is Fate.GAP else "declined")
        if not right:
            yield f"it is {last.state} ({last.code or 'no code'}: {last.reason}), not {fate}"
        for job in jobs[:-1]:
            course = (job.state, job.code)
            if course in PASSED_OVER or (job.state in DELIVERED and fate is Fate.DELIVERED):
                continue
            if not (interrupted and (course in BY_INTERRUPTION or job.code == fate)):
                yield f"revision {job.revision} is {job.state} ({job.code}: {job.reason})"
        delivered = [job for job in jobs if job.state in DELIVERED]
        if fate is Fate.DELIVERED:
            wanted = self.study.plan.results
            if len(delivered) < wanted or (len(delivered) > wanted and not interrupted):
                yield f"it has {len(delivered)} delivered results, not {wanted}"
        for job in delivered:
            yield from self._result(job)

    def _result(self, job: JobRow) -> Iterator[str]:
        """A result is one object, at the PACS, made from exactly the slices of its revision as they came first."""
        if len(job.results) != 1:
            yield f"revision {job.revision} has {len(job.results)} result objects"
        rows = [
            r for r in self._rows() if r.series_uid == job.series_uid and r.variant == 0 and r.revision <= job.revision
        ]
        for uid in job.results:
            if self.facts.results_by_uid and uid != result_uid((row.sop_uid, row.sha256) for row in rows):
                yield f"the result of revision {job.revision} was not made from its {len(rows)} slices as sent"
            arrived = [stored for stored in self._stored() if stored.sop_uid == uid]
            if not arrived:
                yield f"the result of revision {job.revision} is delivered but not at the PACS"
            if any(stored.references != {row.sop_uid for row in rows} for stored in arrived):
                yield f"the result of revision {job.revision} does not refer to its {len(rows)} slices"

    def _pacs(self) -> Iterator[str]:
        """The PACS has nothing but the delivered results, and each of them with one content."""
        delivered = {
            uid
            for job in self.facts.jobs
            if job.series_uid in self.study.series_uids and job.state in DELIVERED
            for uid in job.results
        }
        contents: dict[str, set[str]] = defaultdict(set)
        for stored in self._stored():
            contents[stored.sop_uid].add(stored.sha256)
        for uid, digests in contents.items():
            if uid not in delivered:
                yield f"the PACS has a result that no job has delivered: {uid}"
            if len(digests) > 1:
                yield f"the PACS got {len(digests)} different contents of one result"

    def _interrupted(self, series: int) -> bool:
        return self.trace.interrupted(self.study.plan.patience, series)

    def _rows(self) -> list[Row]:
        return [row for row in self.facts.rows if row.series_uid in self.study.series_uids]

    def _stored(self) -> list[Stored]:
        return [stored for stored in self.facts.stored if stored.study_uid == self.study.uid]


def _name(item: Item) -> str:
    kind = "" if item.form is Form.TRUE else f"{item.form} "
    return f"{kind}object {item.index} of series {item.series}"
