"""What arrives: instances, the revisions of their series, and the associations that bring them."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Row, Table, bindparam, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from node.ledger.database import Store
from node.ledger.ids import new_job_id
from node.ledger.sqlite_fast_path import Executing
from node.ledger.tables import associations, carried, instances, jobs, series
from node.records.instances import Arrival, Association, Ending, Header, Outcome
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
IS_CARRIED = select(carried).where(
    carried.c.association_id == bindparam("association_id"), carried.c.series_id == bindparam("series_id")
)
THIS_JOB = jobs.c.id == bindparam("job_id")
COUNT_NEW = (
    update(jobs).where(THIS_JOB).values(instances=jobs.c.instances + bindparam("n"), last_slice_at=bindparam("at"))
)
COUNT_AGAIN = update(jobs).where(THIS_JOB).values(duplicates=jobs.c.duplicates + bindparam("n"))
KNOWN = select(instances.c.sha256, instances.c.variant).where(
    instances.c.series_id == bindparam("series_id"), instances.c.sop_uid == bindparam("sop_uid")
)
FORGET_AT_ONCE = 500


class Arrivals(Store):
    """The ledger's side of receiving."""

    def record_instances(self, arrivals: Sequence[Arrival]) -> list[Outcome]:
        """Write down objects whose bytes are on disk, all in one transaction; returns one outcome for each, in order.

        New ones open or revise the jobs of their series; duplicates are counted. When this returns, the rows are
        committed.
        """
        by_series: dict[tuple[str, str], list[int]] = defaultdict(list)
        for index, arrival in enumerate(arrivals):
            by_series[arrival.header.study_uid, arrival.header.series_uid].append(index)
        outcomes: dict[int, Outcome] = {}
        links: set[tuple[str, int]] = set()
        with self._write_what_files_tell() as connection:
            for key in sorted(by_series):  # the same order for everybody, so that nobody waits in a circle
                indices = by_series[key]
                series_id, found = self._record_series(connection, [arrivals[i] for i in indices])
                links |= {(arrivals[i].association.id, series_id) for i in indices}
                outcomes.update(zip(indices, found, strict=True))
        self._links |= links  # now that they are committed
        return [outcomes[index] for index in range(len(arrivals))]

    def record_instance(self, arrival: Arrival) -> Outcome:
        """Write down one object, as `record_instances` does."""
        [outcome] = self.record_instances([arrival])
        return outcome

    def _record_series(self, connection: Executing, arrivals: Sequence[Arrival]) -> tuple[int, list[Outcome]]:
        """Write down what came of one series; return its id and the outcomes."""
        header = arrivals[0].header
        key = {"study_uid": header.study_uid, "series_uid": header.series_uid}
        found = _with_newest_job(connection, key)
        if found is None:
            _insert_new(connection, series, key | _described(header))
            found = _with_newest_job(connection, key)
            assert found is not None
        for association in {arrival.association.id: arrival.association for arrival in arrivals}.values():
            self._carry(connection, association, found.series_id)
        joins = found.id is not None and _takes_more(found)
        revision = (found.revision or 0) + (not joins)
        outcomes = [self._record(connection, found.series_id, revision, arrival) for arrival in arrivals]
        fresh, again = outcomes.count(Outcome.NEW), outcomes.count(Outcome.DUPLICATE)
        job_id = found.id
        if fresh and not joins:
            job_id = self._open(connection, found, arrivals[outcomes.index(Outcome.NEW)])
        if fresh:
            connection.execute(COUNT_NEW, {"job_id": job_id, "n": fresh, "at": self.now()})
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
            "path": self._relative(arrival.path),
            "sha256": arrival.sha256,
            "size": arrival.size,
            "received_at": self.now(),
            "header": vars(arrival.header),
        }
        if _insert_new(connection, instances, values):
            return Outcome.NEW
        while True:
            known = connection.execute(KNOWN, {"series_id": series_id, "sop_uid": arrival.header.sop_uid}).all()
            if any(row.sha256 == arrival.sha256 for row in known):
                return Outcome.DUPLICATE
            values["variant"] = max(row.variant for row in known) + 1
            if _insert_new(connection, instances, values):
                return Outcome.VARIANT

    def _open(self, connection: Executing, found: Row[Any], arrival: Arrival) -> str:
        """Open the series' next revision; what has no result yet makes place for it. Returns the new job's id."""
        revision = found.revision or 0
        so_far = 0 if found.removed_at is not None else found.instances or 0
        if found.id is not None and JobState(found.state) in UNFINISHED:
            sentence = "more slices arrived, so a new revision of the series takes its place"
            values = {"code": Reason.SUPERSEDED, "reason": sentence, "finished_at": self.now()}
            self._move(connection, found.id, JobState.CANCELLED, **values)
        job_id = new_job_id(self.now())
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
                received_at=self.now(),
                last_slice_at=self.now(),
            )
        )
        sentence = "the first slice arrived" if revision == 0 else f"a late slice opened revision {revision + 1}"
        self._note(connection, job_id, JobState.RECEIVED, sentence)
        return job_id

    def _carry(self, connection: Executing, association: Association, series_id: int) -> None:
        """Note that an association carries a series, and the association itself before its first one."""
        if (association.id, series_id) in self._links:
            return
        link = {"association_id": association.id, "series_id": series_id}
        if connection.execute(IS_CARRIED, link).first() is None:
            _insert_new(connection, associations, vars(association) | {"ending": ""})
            _insert_new(connection, carried, link)

    def knows_file(self, path: Path) -> bool:
        """Tell whether a file is that of an instance."""
        with self._read() as connection:
            wanted = select(instances.c.id).where(instances.c.path == self._relative(path)).limit(1)
            return connection.execute(wanted).first() is not None

    def end_association(self, association_id: str, ending: Ending) -> None:
        """Note that an association has ended; one that carried nothing is not known here, and nothing happens."""
        standing = (associations.c.id == association_id) & associations.c.ended_at.is_(None)
        with self._write() as connection:
            connection.execute(update(associations).where(standing).values(ended_at=self.now(), ending=ending))
        self._links = {link for link in self._links if link[0] != association_id}

    def end_lost_associations(self, receivers: Collection[str]) -> int:
        """End the associations of receivers that live no more; receivers: the names of those that do.

        Returns how many there were.
        """
        lost = associations.c.ended_at.is_(None) & associations.c.receiver.not_in(receivers)
        with self._read() as connection:
            if connection.execute(select(associations.c.id).where(lost).limit(1)).first() is None:
                return 0
        with self._write() as connection:
            values = {"ended_at": self.now(), "ending": Ending.LOST}
            return connection.execute(update(associations).where(lost).values(values)).rowcount

    def forget_associations(self, ended_before: datetime) -> None:
        """Remove the associations that ended long ago: what they carried has long been decided about."""
        old = select(associations.c.id).where(associations.c.ended_at < ended_before).limit(FORGET_AT_ONCE)
        with self._read() as connection:
            ids = list(connection.execute(old).scalars())
        if ids:
            with self._write() as connection:
                connection.execute(delete(carried).where(carried.c.association_id.in_(ids)))
                connection.execute(delete(associations).where(associations.c.id.in_(ids)))

    def standing_associations(self) -> int:
        """Return how many associations that carried objects still stand."""
        standing = select(func.count()).select_from(associations).where(associations.c.ended_at.is_(None))
        with self._read() as connection:
            return int(connection.execute(standing).scalar_one())


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


@cache
def _insert_if_new(dialect: str, table: Table) -> Any:
    dialect_insert = sqlite_insert if dialect == "sqlite" else postgres_insert
    return dialect_insert(table).on_conflict_do_nothing()


def _insert_new(connection: Executing, table: Table, values: dict[str, Any]) -> bool:
    """Insert a row unless its unique key is taken; tell whether it was inserted."""
    return bool(connection.execute(_insert_if_new(connection.dialect.name, table), values).rowcount)
