"""Instances whose files are missing: found at the start, reported, and restored when the objects are sent again."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Row, select, update

from node.errors import LedgerError, StoreStatus
from node.ledger.database import Database
from node.ledger.job_queue import released
from node.ledger.tables import events, instances, jobs, series
from node.records.instances import Arrival
from node.records.states import JobState, Reason

CHUNK = 500  # ids in one statement
FETCHED = 5000  # rows in memory at a time

STOPPABLE = frozenset({JobState.RECEIVED, JobState.COMPLETE, JobState.QUEUED, JobState.RUNNING})
"""States in which a job still needs its files and has not been stopped."""


class MissingFiles:
    """Compares the recorded instances with the files on disk."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def recorded_files(self) -> Iterator[tuple[int, str]]:
        """Yield the id and the path, relative to the data folder, of every instance."""
        wanted = select(instances.c.id, instances.c.path).execution_options(yield_per=FETCHED)
        with self._db.read() as connection:
            for row in connection.execute(wanted):
                yield row.id, row.path

    def mark_missing(self, instance_ids: Sequence[int], what: str = "gone from the disk") -> dict[str, int]:
        """Find which of these instances' files are gone; the newest job of their series is held if it still needs them.

        what: happened to the files, for the reason. Returns how many are gone by job id.
        """
        counts: Counter[int] = Counter()
        with self._db.read() as connection:
            for start in range(0, len(instance_ids), CHUNK):
                these = instances.c.id.in_(instance_ids[start : start + CHUNK])
                rows = connection.execute(select(*instances.c["series_id", "path"]).where(these))
                counts.update(row.series_id for row in rows if not (self._db.data / row.path).exists())
        return {self._miss(series_id, count, what): count for series_id, count in sorted(counts.items())}

    def _miss(self, series_id: int, count: int, what: str) -> str:
        with self._db.write() as connection:
            job = _newest(connection, series_id)
            sentence = f"{count} of its files {'is' if count == 1 else 'are'} {what}: send the series again"
            values = released(sentence, Reason.MISSING_FILE)
            if job.state in STOPPABLE:
                resume = JobState.QUEUED if job.state == JobState.RUNNING else JobState(job.state)
                self._db.move(connection, job.id, JobState.HELD, **values, resume_state=resume)
                return str(job.id)
            if job.state == JobState.HELD and job.code != Reason.PERSON_HOLDS:
                connection.execute(update(jobs).where(jobs.c.id == job.id).values(values))
            if _last_event(connection, job.id) != sentence:  # this runs at every start of the node
                self._db.note(connection, job.id, job.state, sentence)
            return str(job.id)

    def replace_missing(self, arrival: Arrival) -> bool:
        """Replace the recorded file by that of a duplicate if the recorded one is gone; tell whether it did.

        A job that was held for it continues when no file of its series is missing any more. The file of a duplicate may
        be removed only if this returns False. Raises LedgerError when its row was removed in this very moment.
        """
        header = arrival.header
        own = (series.c.study_uid == header.study_uid) & (series.c.series_uid == header.series_uid)
        same = (instances.c.sop_uid == header.sop_uid) & (instances.c.sha256 == arrival.sha256)
        wanted = select(*instances.c["id", "series_id", "path"]).join(series).where(own & same)
        with self._db.read() as connection:  # nearly always it is there, and no lock is needed to see that
            if not self._lacks(connection.execute(wanted).first()):
                return False
        with self._db.write() as connection:
            known = connection.execute(wanted.with_for_update()).first()
            if not self._lacks(known):
                return False
            assert known is not None
            values = {"path": arrival.key, "transfer_syntax": arrival.transfer_syntax}
            connection.execute(update(instances).where(instances.c.id == known.id).values(values))
            self._go_on(connection, known.series_id)
            return True

    def _lacks(self, known: Row[Any] | None) -> bool:
        if known is None:
            sentence = "the series was removed from the ledger a moment ago: its objects are new if they are sent again"
            raise LedgerError(sentence, retry=True, status=StoreStatus.OUT_OF_RESOURCES)
        return not (self._db.data / known.path).exists()

    def resume_jobs(self) -> list[str]:
        """Release jobs that were held for missing files if the files are back; return their ids."""
        held = (jobs.c.state == JobState.HELD) & (jobs.c.code == Reason.MISSING_FILE)
        with self._db.read() as connection:
            waiting = connection.execute(select(jobs.c.series_id).where(held)).scalars().all()
        gone_on = []
        for series_id in waiting:
            with self._db.write() as connection:
                job_id = self._go_on(connection, series_id)
                gone_on += [job_id] if job_id else []
        return gone_on

    def _go_on(self, connection: Connection, series_id: int) -> str:
        job = _newest(connection, series_id)
        if job.state != JobState.HELD or job.code != Reason.MISSING_FILE:
            return ""
        paths = connection.execute(select(instances.c.path).where(instances.c.series_id == series_id)).scalars()
        if not all((self._db.data / path).exists() for path in paths):
            return ""
        self._db.note(connection, job.id, job.state, "its missing files are there again")
        values = released() | {"resume_state": "", "last_dispatched_at": None}
        self._db.move(connection, job.id, JobState(job.resume_state), **values)
        return str(job.id)


def _newest(connection: Connection, series_id: int) -> Row[Any]:
    wanted = select(jobs).where(jobs.c.series_id == series_id).order_by(jobs.c.revision.desc()).limit(1)
    return connection.execute(wanted.with_for_update()).one()


def _last_event(connection: Connection, job_id: str) -> str | None:
    wanted = select(events.c.text).where(events.c.job_id == job_id).order_by(events.c.id.desc()).limit(1)
    found: str | None = connection.execute(wanted).scalar()
    return found
