"""Received instances and the revisions of their series."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from node.decide.scan import without_localisers
from node.ledger.associations import Associations
from node.ledger.database import Database
from node.ledger.identity_digests import IdentityDigests
from node.ledger.instance_statements import Instance, InstanceStatements, NewestJob
from node.ledger.revisions import Revisions, takes_more
from node.ledger.tables import instances, jobs, series
from node.records.instances import Arrival, Header, Outcome

CT = "CT"
NO_REVISION = 0
"""Of an object that came under a known UID with other content, and is kept beside the first one, but not used."""


class Instances:
    """Records received objects and opens the jobs of their series."""

    statements: Callable[[Connection], InstanceStatements] = InstanceStatements

    def __init__(self, database: Database, associations: Associations) -> None:
        self._db = database
        self._associations = associations
        self._digests = IdentityDigests(database.data)
        self.revisions = Revisions(database)

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
        if found.modality != CT:
            self._describe_by_ct(connection, found.series_id, arrivals)
        by_association = {arrival.association.id: arrival for arrival in reversed(arrivals)}
        first_of = [
            arrival for arrival in by_association.values()
            if self._associations.note_carried(connection, arrival.association, found.series_id)
        ]  # fmt: skip
        joins = found.id is not None and (takes_more(found) or self._are_companions(found, arrivals))
        revision = (found.revision or 0) + (not joins)
        outcomes = [self._record(statements, found.series_id, revision, arrival) for arrival in arrivals]
        fresh, again = outcomes.count(Outcome.NEW), outcomes.count(Outcome.DUPLICATE)
        job_id = found.id
        if fresh and not joins:
            job_id = self.revisions.open(connection, found, arrivals[outcomes.index(Outcome.NEW)])
        elif reopened := self.revisions.reopen(connection, found, arrivals):
            job_id = reopened
        elif fresh and first_of and job_id is not None:
            self.revisions.note_pause(connection, job_id, first_of[0])
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
            header=vars(arrival.header) | {"identity": self._digests.of(arrival.header.identity)},
        )
        if statements.insert(instance):
            return Outcome.NEW
        while True:
            known = statements.variants(series_id, arrival.header.sop_uid)
            if any(sha256 == arrival.sha256 for sha256, _ in known):
                return Outcome.DUPLICATE
            variant = max(number for _, number in known) + 1
            if statements.insert(instance._replace(variant=variant, revision=NO_REVISION)):
                return Outcome.VARIANT

    @staticmethod
    def _are_companions(found: NewestJob, arrivals: Sequence[Arrival]) -> bool:
        """Tell whether objects of a decided CT series are no part of its scan: a report or a localiser came late.

        They open no revision: its results would be the same.
        """
        headers = [arrival.header for arrival in arrivals]
        return found.modality == CT and not without_localisers([h for h in headers if h.modality == CT])

    @staticmethod
    def _describe_by_ct(connection: Connection, series_id: int, arrivals: Sequence[Arrival]) -> None:
        """Describe a series by its first CT image where a report or a page came before it."""
        image = next((arrival.header for arrival in arrivals if arrival.header.modality == CT), None)
        if image is not None:
            connection.execute(update(series).where(series.c.id == series_id).values(_described(image)))

    def describe(self, job_id: str, header: Header) -> None:
        """Describe the series of a job by an image of its scan; its first object may have been none."""
        own = series.c.id == select(jobs.c.series_id).where(jobs.c.id == job_id).scalar_subquery()
        with self._db.write() as connection:
            connection.execute(update(series).where(own).values(_described(header)))

    def knows_file(self, key: str) -> bool:
        """Tell whether the file of this key belongs to a recorded instance."""
        with self._db.read() as connection:
            wanted = select(instances.c.id).where(instances.c.path == key).limit(1)
            return connection.execute(wanted).first() is not None

    def headers_of(self, job_id: str) -> list[Header]:
        """Return the headers of all instances of the job's series up to its revision."""
        return [header_of(row.header) for row in self._used(job_id)]

    def keys_of(self, job_id: str) -> list[str]:
        """Return the keys of the files of all instances of the job's series up to its revision."""
        return [row.path for row in self._used(job_id)]

    def files_of(self, job_id: str) -> list[tuple[int, str, str]]:
        """Return id, key and digest of the same instances."""
        return [(row.id, row.path, row.sha256) for row in self._used(job_id)]

    def _used(self, job_id: str) -> Sequence[Row[Any, Any]]:
        """Return the instances of a job. Of several under one UID, that of the latest revision, the first of it."""
        own = (jobs.c.series_id == instances.c.series_id) & (instances.c.revision <= jobs.c.revision)
        order = (instances.c.revision.desc(), instances.c.variant)
        place = func.row_number().over(partition_by=instances.c.sop_uid, order_by=order).label("place")
        ranked = (
            select(*instances.c["id", "header", "path", "sha256"], place)
            .join(jobs, own)
            .where(jobs.c.id == job_id, instances.c.revision > NO_REVISION)
            .subquery()
        )
        wanted = select(ranked).where(ranked.c.place == 1).order_by(ranked.c.id)
        with self._db.read() as connection:
            return connection.execute(wanted).all()

    def shares_series_uid(self, job_id: str) -> bool:
        """Tell whether other objects with the Series Instance UID of a job belong to another study.

        The same objects may be in two studies: a correction or a merge moved them.
        """
        mine, theirs = series.alias(), series.alias()
        own_objects, other_objects = instances.alias(), instances.alias()
        others = (
            select(other_objects.c.sop_uid)
            .join(theirs, theirs.c.id == other_objects.c.series_id)
            .join(mine, (mine.c.series_uid == theirs.c.series_uid) & (mine.c.id != theirs.c.id))
            .join(jobs, jobs.c.series_id == mine.c.id)
            .where(jobs.c.id == job_id)
        )
        own = select(own_objects.c.id).join(jobs, jobs.c.series_id == own_objects.c.series_id)
        shared = own.where(jobs.c.id == job_id, own_objects.c.sop_uid.in_(others)).limit(1)
        with self._db.read() as connection:
            if connection.execute(others.limit(1)).first() is None:
                return False
            return connection.execute(shared).first() is None


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


def header_of(stored: dict[str, Any]) -> Header:
    """Return a header as the ledger stores it."""
    values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in stored.items()}
    return Header(**values)
