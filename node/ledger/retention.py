"""Removal of finished series: first their rows, in one transaction; the files follow."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import Connection, delete, exists, select, update

from node.ledger.database import Database
from node.ledger.tables import associations, carried, deliveries, instances, jobs, removals, results, series
from node.ledger.upsert import insert_new_from
from node.records.retention import DeliveryStatus, KeptRevision, KeptSeries
from node.records.states import DeliveryState, JobState

CHUNK = 500  # paths in one statement


class Retention:
    """Finds finished series and removes their rows."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def finished_series(self, states: Collection[JobState], before: datetime) -> list[int]:
        """Return the series with files whose newest job ended in these states before a time, the oldest first."""
        later = jobs.alias()
        newest = ~exists().where(later.c.series_id == jobs.c.series_id, later.c.revision > jobs.c.revision)
        wanted = (
            select(jobs.c.series_id)
            .where(jobs.c.state.in_(states), jobs.c.finished_at <= before, jobs.c.removed_at.is_(None))
            .where(jobs.c.series_id.is_not(None), newest)
            .order_by(jobs.c.finished_at)
        )
        with self._db.read() as connection:
            return list(connection.execute(wanted).scalars())

    def kept_series(self, series_ids: Sequence[int]) -> list[KeptSeries]:
        """Return what the decision on removal needs, for those of these series that have files, in this order."""
        with self._db.read() as connection:
            found = {kept.series_id: kept for kept in _kept(connection, series_ids)}
        return [found[series_id] for series_id in series_ids if series_id in found]

    def remove_series(self, judged: KeptSeries, sentence: str) -> bool:
        """Remove the rows of a series' files, and record it in the history of its jobs; the files are then pending.

        sentence: for the history of the jobs. judged: as the decision was made; when anything of it has changed,
        nothing happens and it returns False.
        """
        with self._db.write() as connection:
            # A receiver that records an object holds this lock, too: either it comes first, and an association is
            # open, or it finds no rows and opens a new revision.
            connection.execute(select(series.c.id).where(series.c.id == judged.series_id).with_for_update())
            if _kept(connection, [judged.series_id]) != [judged]:
                return False
            here = (jobs.c.series_id == judged.series_id) & jobs.c.removed_at.is_(None)
            own = instances.c.series_id == judged.series_id
            insert_new_from(connection, removals, "path", select(instances.c.path).where(own))
            insert_new_from(
                connection,
                removals,
                "path",
                select(results.c.path).join(jobs, jobs.c.id == results.c.job_id).where(here),
            )
            connection.execute(delete(instances).where(own))
            connection.execute(update(jobs).where(here).values(removed_at=self._db.now()))
            for revision in judged.revisions:
                self._db.note(connection, revision.job_id, revision.state, sentence)
            return True

    def pending_removals(self) -> list[str]:
        """Return the paths whose rows are removed, but whose files may still exist, relative to the data folder."""
        with self._db.read() as connection:
            return list(connection.execute(select(removals.c.path).order_by(removals.c.path)).scalars())

    def note_removed(self, paths: Sequence[str]) -> None:
        """Record that these pending files are removed."""
        for start in range(0, len(paths), CHUNK):
            with self._db.write() as connection:
                connection.execute(delete(removals).where(removals.c.path.in_(paths[start : start + CHUNK])))


def _kept(connection: Connection, series_ids: Sequence[int]) -> list[KeptSeries]:
    """Return the series with the jobs whose files have not been removed; those without such a job are left out."""
    columns = jobs.c["id", "series_id", "state", "code", "finished_at", "destinations"]
    here = jobs.c.series_id.in_(series_ids) & jobs.c.removed_at.is_(None)
    sent: dict[str, list[DeliveryStatus]] = defaultdict(list)
    found = select(*deliveries.c["job_id", "peer", "state", "delivered_at"]).join(
        jobs, jobs.c.id == deliveries.c.job_id
    )
    for row in connection.execute(found.where(here).order_by(deliveries.c.id)):
        sent[row.job_id].append(DeliveryStatus(row.peer, DeliveryState(row.state), row.delivered_at))
    revisions: dict[int, list[KeptRevision]] = defaultdict(list)
    for row in connection.execute(select(*columns).where(here).order_by(jobs.c.series_id, jobs.c.revision)):
        given = (JobState(row.state), row.code, row.finished_at, tuple(row.destinations or ()))
        revisions[row.series_id].append(KeptRevision(row.id, *given, tuple(sent[row.id])))
    carriers = select(carried.c.series_id).join(associations, associations.c.id == carried.c.association_id)
    open_now = carriers.where(carried.c.series_id.in_(series_ids), associations.c.ended_at.is_(None))
    receiving = set(connection.execute(open_now).scalars())
    return [KeptSeries(key, tuple(found), key in receiving) for key, found in revisions.items()]
