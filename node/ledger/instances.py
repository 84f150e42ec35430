"""Received instances and the revisions of their series."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Row, bindparam, insert, select, update

from node.ledger.associations import Associations
from node.ledger.database import Database
from node.ledger.ids import new_job_id
from node.ledger.sqlite_fast_path import Executing
from node.ledger.tables import instances, jobs, series
from node.ledger.upsert import insert_if_new
from node.records.instances import Arrival, Header, Outcome
from node.records.states import UNFINISHED, JobState, Reason

# Statements of the way every object takes are built once: building them takes longer than running them.
SERIES_KEY = (series.c.study_uid == bindparam("study_uid")) & (series.c.series_uid == bindparam("series_uid"))
# On PostgreSQL concurrent slices of one series queue up here; the look at its newest job must come after the wait.
LOCK_SERIES = select(series.c.id).where(SERIES_KEY).with_for_update()
SERIES = (
    select(series.c.id.label("series_id"), *jobs.c["id", "revision", "state", "code", "instances", "removed_at"])
    .select_from(series.outerjoin(jobs, jobs.c.series_id == series.c.id))
    .where(SERIES_KEY)
    .order_by(jobs.c.revision.desc())
    .limit(1)
)
THIS_JOB = jobs.c.id == bindparam("job_id")
COUNT_NEW = (
    update(jobs).where(THIS_JOB).values(instances=jobs.c.instances + bindparam("n"), last_slice_at=bindparam("at"))
)
COUNT_AGAIN = update(jobs).where(THIS_JOB).values(duplicates=jobs.c.duplicates + bindparam("n"))
KNOWN = select(instances.c.sha256, instances.c.variant).where(
    instances.c.series_id == bindparam("series_id"), instances.c.sop_uid == bindparam("sop_uid")
)


class Instances:
    """Records received objects and opens the jobs of their series."""

    def __init__(self, database: Database, associations: Associations) -> None:
        self._db = database
        self._associations = associations

    def record_all(self, arrivals: Sequence[Arrival]) -> list[Outcome]:
        """Write down objects whose bytes are on disk, all in one transaction; returns one outcome for each, in order.

        New ones open or revise the jobs of their series; duplicates are counted. When this returns, the rows are
        committed.
        """
        by_series: dict[tuple[str, str], list[int]] = defaultdict(list)
        for index, arrival in enumerate(arrivals):
            by_series[arrival.header.study_uid, arrival.header.series_uid].append(index)
        outcomes: dict[int, Outcome] = {}
        links: set[tuple[str, int]] = set()
        with self._db.write_unsynced() as connection:
            for key in sorted(by_series):  # the same order for everybody, so that nobody waits in a circle
                indices = by_series[key]
                series_id, found = self._record_series(connection, [arrivals[i] for i in indices])
                links |= {(arrivals[i].association.id, series_id) for i in indices}
                outcomes.update(zip(indices, found, strict=True))
        self._associations.remember(links)  # now that they are committed
        return [outcomes[index] for index in range(len(arrivals))]

    def record(self, arrival: Arrival) -> Outcome:
        """Write down one object, as `record_all` does."""
        [outcome] = self.record_all([arrival])
        return outcome

    def _record_series(self, connection: Executing, arrivals: Sequence[Arrival]) -> tuple[int, list[Outcome]]:
        """Write down what came of one series; return its id and the outcomes."""
        header = arrivals[0].header
        key = {"study_uid": header.study_uid, "series_uid": header.series_uid}
        found = _with_newest_job(connection, key)
        if found is None:
            insert_if_new(connection, series, key | _described(header))
            found = _with_newest_job(connection, key)
            assert found is not None
        for association in {arrival.association.id: arrival.association for arrival in arrivals}.values():
            self._associations.note_carried(connection, association, found.series_id)
        joins = found.id is not None and _takes_more(found)
        revision = (found.revision or 0) + (not joins)
        outcomes = [self._record(connection, found.series_id, revision, arrival) for arrival in arrivals]
        fresh, again = outcomes.count(Outcome.NEW), outcomes.count(Outcome.DUPLICATE)
        job_id = found.id
        if fresh and not joins:
            job_id = self._open(connection, found, arrivals[outcomes.index(Outcome.NEW)])
        if fresh:
            connection.execute(COUNT_NEW, {"job_id": job_id, "n": fresh, "at": self._db.now()})
        if again and job_id is not None:
            connection.execute(COUNT_AGAIN, {"job_id": job_id, "n": again})
        return found.series_id, outcomes

    def _record(self, connection: Executing, series_id: int, revision: int, arrival: Arrival) -> Outcome:
        values = {
            "series_id": series_id,
            "revision": revision,
            "sop_uid": arrival.header.sop_uid,
            "variant": 0,
            "transfer_syntax": arrival.transfer_syntax,
            "path": self._db.relative(arrival.path),
            "sha256": arrival.sha256,
            "size": arrival.size,
            "received_at": self._db.now(),
            "header": vars(arrival.header),
        }
        if insert_if_new(connection, instances, values):
            return Outcome.NEW
        while True:
            known = connection.execute(KNOWN, {"series_id": series_id, "sop_uid": arrival.header.sop_uid}).all()
            if any(row.sha256 == arrival.sha256 for row in known):
                return Outcome.DUPLICATE
            values["variant"] = max(row.variant for row in known) + 1
            if insert_if_new(connection, instances, values):
                return Outcome.VARIANT

    def _open(self, connection: Executing, found: Row[Any], arrival: Arrival) -> str:
        """Open the series' next revision; what has no result yet makes place for it. Returns the new job's id."""
        revision = found.revision or 0
        so_far = 0 if found.removed_at is not None else found.instances or 0
        if found.id is not None and JobState(found.state) in UNFINISHED:
            sentence = "more slices arrived, so a new revision of the series takes its place"
            values: dict[str, Any] = {"code": Reason.SUPERSEDED, "reason": sentence, "finished_at": self._db.now()}
            self._db.move(connection, found.id, JobState.CANCELLED, **values)
        job_id = new_job_id(self._db.now())
        connection.execute(
            insert(jobs).values(
                id=job_id,
                series_id=found.series_id,
                revision=revision + 1,
                state=JobState.RECEIVED,
                calling_ae=arrival.association.calling_ae,
                called_ae=arrival.association.called_ae,
                host=arrival.association.host,
                instances=so_far,
                received_at=self._db.now(),
                last_slice_at=self._db.now(),
            )
        )
        sentence = "the first slice arrived" if revision == 0 else f"a late slice opened revision {revision + 1}"
        self._db.note(connection, job_id, JobState.RECEIVED, sentence)
        return job_id

    def knows_file(self, path: Path) -> bool:
        """Tell whether a file is that of an instance."""
        with self._db.read() as connection:
            wanted = select(instances.c.id).where(instances.c.path == self._db.relative(path)).limit(1)
            return connection.execute(wanted).first() is not None

    def headers_of(self, job_id: str) -> list[Header]:
        """Return the headers of all instances of the job's series up to its revision."""
        return [_header(row.header) for row in self._used(job_id)]

    def files_of(self, job_id: str) -> list[Path]:
        """Return the files of all instances of the job's series up to its revision, absolute."""
        return [self._db.data / row.path for row in self._used(job_id)]

    def _used(self, job_id: str) -> Sequence[Row[Any, Any]]:
        own = (jobs.c.series_id == instances.c.series_id) & (instances.c.revision <= jobs.c.revision)
        used = (jobs.c.id == job_id) & (instances.c.variant == 0)
        wanted = select(instances.c.header, instances.c.path).join(jobs, own).where(used).order_by(instances.c.id)
        with self._db.read() as connection:
            return connection.execute(wanted).all()


def _takes_more(job: Row[Any]) -> bool:
    """Tell whether a new slice joins this job: it is still receiving, or was held or cancelled while it was."""
    held = job.state == JobState.HELD and job.code in {Reason.PERSON_HOLDS, Reason.STILL_ARRIVING}
    cancelled = job.state == JobState.CANCELLED and job.code == Reason.PERSON_CANCELS
    return held or cancelled or bool(job.state == JobState.RECEIVED)


def _with_newest_job(connection: Executing, key: dict[str, str]) -> Row[Any] | None:
    """Return a series' id and the columns of its newest job, None when it is new, and hold its lock."""
    if connection.dialect.name != "sqlite":  # there the transaction has the whole file
        connection.execute(LOCK_SERIES, key)
    found: Row[Any] | None = connection.execute(SERIES, key).first()
    return found


def _described(header: Header) -> dict[str, str]:
    return {
        "modality": header.modality[:16],
        "accession": header.accession[:64],
        "study_description": header.study_description[:64],
        "series_description": header.series_description[:64],
        "body_part": header.body_part[:64],
    }


def _header(stored: dict[str, Any]) -> Header:
    values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in stored.items()}
    return Header(**values)
