"""The checks at the end of a crash run: a pure function of the end state; an empty list means that nothing was lost."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from e2e.crash.end_state import DELIVERED, FINISHED, EndState, JobRow, ObjectRow
from e2e.crash.pacs import Stored
from e2e.crash.senders import SendLog
from e2e.crash.studies import Study, result_uid
from e2e.crash.study_plan import Expected, Item, Version

CANNOT_UNDERSTAND = 0xC000
SUPERSEDED = {("cancelled", "superseded")}  # a revision without a result, replaced by a later one
ALLOWED_AFTER_INTERRUPTION = {("declined", "too-short")}  # a revision that ended where the sending broke off


def violations(end_state: EndState) -> list[str]:
    """Return one sentence for each violation."""
    return [
        *_of_all(end_state),
        *(sentence for study in end_state.studies for sentence in _StudyCheck(end_state, study).sentences()),
    ]


def _of_all(end_state: EndState) -> Iterator[str]:
    """Check what belongs to no single study."""
    yield from (f"left behind: {name}" for name in end_state.leftovers)
    yield from (f"does not answer: {sentence}" for sentence in end_state.complaints)
    planned = {uid for study in end_state.studies for uid in study.series_uids}
    yield from (
        f"the ledger has a series nobody sent: {uid}" for uid in {row.series_uid for row in end_state.rows} - planned
    )
    for job in end_state.jobs:
        if job.state not in FINISHED:
            yield f"job {job.id} stays {job.state} ({job.reason or 'no reason'})"
        if job.open_deliveries:
            yield f"job {job.id} has {job.open_deliveries} deliveries that stay open"
        if job.state == "failed":
            yield f"job {job.id} failed: {job.reason}"
    studies = {study.uid for study in end_state.studies}
    yield from (
        f"the PACS has a result of a study nobody sent: {s.sop_uid}"
        for s in end_state.stored
        if s.study_uid not in studies
    )
    refused = sum(
        answer.status == CANNOT_UNDERSTAND for send_log in end_state.send_logs.values() for answer in send_log.answers
    )
    noted = end_state.refusals.get("broken-object", 0)
    if noted < refused:
        yield f"{refused} objects were refused as broken, but the ledger records {noted}"


@dataclass(frozen=True)
class _StudyCheck:
    """The checks of one study."""

    end_state: EndState
    study: Study

    def sentences(self) -> Iterator[str]:
        plan = self.study.plan
        for sentence in (*self._objects(), *self._series(), *self._pacs()):
            yield f"study {plan.number} ({plan.scenario}): {sentence}"

    @property
    def send_log(self) -> SendLog:
        return self.end_state.send_logs.get(self.study.plan.number, SendLog())

    def _objects(self) -> Iterator[str]:
        """Every object is acknowledged and stored, or refused and not stored; nothing else is stored."""
        rows = {(row.sop_uid, row.sha256): row for row in self._rows()}
        if len(rows) != len(self._rows()):
            yield "the ledger has the same object twice"
        known = {(sent.sop_uid, sent.sha256) for sent in self.study.objects.values()}
        yield from (
            f"the ledger has an object nobody sent: {uid}" for uid, digest in rows if (uid, digest) not in known
        )
        refused = {answer.item for answer in self.send_log.answers if answer.refused}
        for item, sent in sorted(self.study.objects.items()):
            row = rows.get((sent.sop_uid, sent.sha256))
            taken = item in self.send_log.acknowledged
            if taken and row is None:
                yield f"{_name(item)} was acknowledged but is not in the ledger"
            if row is not None and row.on_disk != row.sha256:
                yield f"{_name(item)} is {'damaged' if row.on_disk else 'not'} on disk"
            if row is not None and row.variant != 0 and item.version is not Version.VARIANT:
                yield f"{_name(item)} came first but is not the one in use"
            match item.version:
                case Version.ORIGINAL if not taken:
                    yield f"{_name(item)} was {'refused' if item in refused else 'never acknowledged'}"
                case Version.BROKEN if taken or item not in refused:
                    yield f"{_name(item)} was not refused"
                case Version.VARIANT if not taken and item not in refused:
                    yield f"{_name(item)} was never answered"

    def _series(self) -> Iterator[str]:
        for number, (uid, series) in enumerate(zip(self.study.series_uids, self.study.plan.series, strict=True)):
            jobs = [job for job in self.end_state.jobs if job.series_uid == uid]
            if not jobs:
                yield f"series {number} has no job"
                continue
            yield from (
                f"series {number}: {sentence}"
                for sentence in self._revisions(jobs, series.expected, self._interrupted(number))
            )
            used = [row for row in self.end_state.rows if row.series_uid == uid and row.variant == 0]
            if jobs[-1].instances != len(used):
                yield f"series {number}: its job counts {jobs[-1].instances} objects, the ledger has {len(used)}"

    def _revisions(self, jobs: list[JobRow], expected: Expected, interrupted: bool) -> Iterator[str]:
        """The last revision ends as expected; those before it were superseded, or have results of their own."""
        last = jobs[-1]
        right = last.state in DELIVERED if expected is Expected.DELIVERED else last.code == expected
        if expected is not Expected.DELIVERED:
            right = right and last.state == ("held" if expected is Expected.GAP else "declined")
        if not right:
            yield f"it is {last.state} ({last.code or 'no code'}: {last.reason}), not {expected}"
        for job in jobs[:-1]:
            state_and_code = (job.state, job.code)
            if state_and_code in SUPERSEDED or (job.state in DELIVERED and expected is Expected.DELIVERED):
                continue
            if not (interrupted and (state_and_code in ALLOWED_AFTER_INTERRUPTION or job.code == expected)):
                yield f"revision {job.revision} is {job.state} ({job.code}: {job.reason})"
        delivered = [job for job in jobs if job.state in DELIVERED]
        if expected is Expected.DELIVERED:
            wanted = self.study.plan.results
            if len(delivered) < wanted or (len(delivered) > wanted and not interrupted):
                yield f"it has {len(delivered)} delivered results, not {wanted}"
        for job in delivered:
            yield from self._result(job)

    def _result(self, job: JobRow) -> Iterator[str]:
        """A result is one object at the PACS, made from exactly the first-received slices of its revision."""
        if len(job.results) != 1:
            yield f"revision {job.revision} has {len(job.results)} result objects"
        rows = [
            r for r in self._rows() if r.series_uid == job.series_uid and r.variant == 0 and r.revision <= job.revision
        ]
        for uid in job.results:
            if self.end_state.results_by_uid and uid != result_uid((row.sop_uid, row.sha256) for row in rows):
                yield f"the result of revision {job.revision} was not made from its {len(rows)} slices as sent"
            arrived = [stored for stored in self._stored() if stored.sop_uid == uid]
            if not arrived:
                yield f"the result of revision {job.revision} is delivered but not at the PACS"
            if any(stored.references != {row.sop_uid for row in rows} for stored in arrived):
                yield f"the result of revision {job.revision} does not refer to its {len(rows)} slices"

    def _pacs(self) -> Iterator[str]:
        """The PACS has the delivered results only, each of them with one content."""
        delivered = {
            uid
            for job in self.end_state.jobs
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
        return self.send_log.interrupted(self.study.plan.patience, series)

    def _rows(self) -> list[ObjectRow]:
        return [row for row in self.end_state.rows if row.series_uid in self.study.series_uids]

    def _stored(self) -> list[Stored]:
        return [stored for stored in self.end_state.stored if stored.study_uid == self.study.uid]


def _name(item: Item) -> str:
    kind = "" if item.version is Version.ORIGINAL else f"{item.version} "
    return f"{kind}object {item.index} of series {item.series}"
