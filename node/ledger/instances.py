"""Received instances and the revisions of their series."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from node.ledger.associations import Associations
from node.ledger.database import Database
from node.ledger.ids import new_job_id
from node.ledger.instance_statements import Instance, InstanceStatements, NewestJob
from node.ledger.tables import instances, jobs, series
from node.records.instances import Arrival, Header, Outcome
from node.records.states import UNFINISHED, JobState, Reason


class Instances:
    """Records received objects and opens the jobs of their series."""

    statements: Callable[[Connection], InstanceStatements] = InstanceStatements

    def __init__(self, database: Database, associations: Associations) -> None:
        self._db = database
        self._associations = associations

    def record_all(self, arrivals: Sequence[Arrival]) -> list[Outcome]:
        """Record objects whose files are on disk, all in one transaction; return one outcome for each, in order.

        New ones open or revise the jobs of their series; duplicates are counted. When this returns, the rows are
        committed.
        """
        by_series: dict[tuple[str, str], list[int]] = defaultdict(list)
        for index, arrival in enumerate(arrivals):
            by_series[arrival.header.study_uid, arrival.header.series_uid].append(index)
        outcomes: dict[int, Outcome] = {}
        links: set[tuple[str, int]] = set()
        with self._db.write_unsynced() as connection:
            for key in sorted(by_series):  # always in the same order, so that two processes cannot deadlock
                indices = by_series[key]
                series_id, found = self._record_series(connection, [arrivals[i] for i in indices])
                links |= {(arrivals[i].association.id, series_id) for i in indices}
                outcomes.update(zip(indices, found, strict=True))
        self._associations.remember(links)  # now that they are committed
        return [outcomes[index] for index in range(len(arrivals))]

    def record(self, arrival: Arrival) -> Outcome:
        """Record one object, as `record_all` does."""
        [outcome] = self.record_all([arrival])
        return outcome

    def _record_series(self, connection: Connection, arrivals: Sequence[Arrival]) -> tuple[int, list[Outcome]]:
        """Record the objects of one series; return its id and the outcomes."""
        header = arrivals[0].header
        statements = self.statements(connection)
        key = (header.study_uid, header.series_uid)
        found = statements.newest_job(*key)
        if found is None:
            connection.execute(insert(series).values(_described(header)))
            found = statements.newest_job(*key)
            assert found is not None
        for association in {arrival.association.id: arrival.association for arrival in arrivals}.values():
            self._associations.note_carried(connection, association, found.series_id)
        joins = found.id is not None and _takes_more(found)
        revision = (found.revision or 0) + (not joins)
        outcomes = [self._record(statements, found.series_id, revision, arrival) for arrival in arrivals]
        fresh, again = outcomes.count(Outcome.NEW), outcomes.count(Outcome.DUPLICATE)
        job_id = found.id
        if fresh and not joins:
            job_id = self._open(connection, found, arrivals[outcomes.index(Outcome.NEW)])
        if fresh:
            statements.count_new(job_id, fresh, self._db.now())
        if again and job_id is not None:
            statements.count_duplicates(job_id, again)
        return found.series_id, outcomes

    def _record(self, statements: InstanceStatements, series_id: int, revision: int, arrival: Arrival) -> Outcome:
        instance = Instance(
            series_id=series_id,
            revision=revision,
            sop_uid=arrival.header.sop_uid,
            variant=0,
            transfer_syntax=arrival.transfer_syntax,
            path=arrival.key,
            sha256=arrival.sha256,
            size=arrival.size,
            received_at=self._db.now(),
            header=vars(arrival.header),
        )
        if statements.insert(instance):
            return Outcome.NEW
        while True:
            known = statements.variants(series_id, arrival.header.sop_uid)
            if any(sha256 == arrival.sha256 for sha256, _ in known):
                return Outcome.DUPLICATE
            variant = max(number for _, number in known) + 1
            if statements.insert(instance._replace(variant=variant)):
                return Outcome.VARIANT

    def _open(self, connection: Connection, found: NewestJob, arrival: Arrival) -> str:
        """Open the series' next revision, and cancel the last one if it has no result yet. Return the new job's id."""
        revision = found.revision or 0
        so_far = 0 if found.removed_at is not None else found.instances or 0
        if found.id is not None and found.state in UNFINISHED:
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

    def knows_file(self, key: str) -> bool:
        """Tell whether the file of this key belongs to a recorded instance."""
        with self._db.read() as connection:
            wanted = select(instances.c.id).where(instances.c.path == key).limit(1)
            return connection.execute(wanted).first() is not None

    def headers_of(self, job_id: str) -> list[Header]:
        """Return the headers of all instances of the job's series up to its revision."""
        return [_header(row.header) for row in self._used(job_id)]

    def keys_of(self, job_id: str) -> list[str]:
        """Return the keys of the files of all instances of the job's series up to its revision."""
        return [row.path for row in self._used(job_id)]

    def files_of(self, job_id: str) -> list[tuple[int, str, str]]:
        """Return id, key and digest of the same instances."""
        return [(row.id, row.path, row.sha256) for row in self._used(job_id)]

    def _used(self, job_id: str) -> Sequence[Row[Any, Any]]:
        own = (jobs.c.series_id == instances.c.series_id) & (instances.c.revision <= jobs.c.revision)
        used = (jobs.c.id == job_id) & (instances.c.variant == 0)
        wanted = (
            select(*instances.c["id", "header", "path", "sha256"]).join(jobs, own).where(used).order_by(instances.c.id)
        )
        with self._db.read() as connection:
            return connection.execute(wanted).all()


def _takes_more(job: NewestJob) -> bool:
    """Tell whether a new slice joins this job: it is still receiving, or was held or cancelled while it was."""
    held = job.state == JobState.HELD and job.code in {Reason.PERSON_HOLDS, Reason.STILL_ARRIVING}
    cancelled = job.state == JobState.CANCELLED and job.code == Reason.PERSON_CANCELS
    return held or cancelled or bool(job.state == JobState.RECEIVED)


def _described(header: Header) -> dict[str, str]:
    return {
        "study_uid": header.study_uid,
        "series_uid": header.series_uid,
        "modality": header.modality[:16],
        "accession": header.accession[:64],
        "study_description": header.study_description[:64],
        "series_description": header.series_description[:64],
        "body_part": header.body_part[:64],
    }


def _header(stored: dict[str, Any]) -> Header:
    values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in stored.items()}
    return Header(**values)
