"""Revisions of a series: when one is opened, and what the sender did between them.

All of this is rare, unlike the arrival of one more slice.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from node.ledger.database import Database
from node.ledger.ids import new_job_id
from node.ledger.instance_statements import NewestJob
from node.ledger.tables import instances, jobs
from node.records.instances import Arrival
from node.records.states import UNFINISHED, JobState, Reason

LONGEST_PAUSE_SECONDS = 60.0
"""After a longer pause somebody has sent slices by hand, or again: that is no rhythm that will go on."""


class Revisions:
    """Opens the revisions of series, in the transaction of a connection."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def open(self, connection: Connection, found: NewestJob, arrival: Arrival, sentence: str = "") -> str:
        """Open the series' next revision, and cancel the last one if it has no result yet. Return the new job's id.

        sentence: for the history of the job, if not a late slice is the reason.
        """
        revision = found.revision or 0
        so_far = 0 if found.removed_at is not None else found.instances or 0
        before = _job(connection, found.id)
        pause = 0.0 if sentence or before is None else _pause(before.last_slice_at, arrival)
        if found.id is not None and found.state in UNFINISHED:
            reason = "more slices arrived, so a new revision of the series takes its place"
            values: dict[str, Any] = {"code": Reason.SUPERSEDED, "reason": reason, "finished_at": self._db.now()}
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
                pause=max(before.pause, pause) if before else 0.0,
                other_sender=before is not None and _by_other_sender(before, arrival),
                corrected=before.corrected if before and not before.forced else 0,
            )
        )
        late = "the first slice arrived" if revision == 0 else f"a late slice opened revision {revision + 1}"
        self._db.note(connection, job_id, JobState.RECEIVED, sentence or late)
        return job_id

    @staticmethod
    def note_pause(connection: Connection, job_id: str, arrival: Arrival) -> None:
        """Note how long the sender of a job paused before the association of an arrival."""
        job = _job(connection, job_id)
        pause = _pause(job.last_slice_at, arrival) if job else 0.0
        if pause:
            longest = func.max(jobs.c.pause, pause)
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(pause=longest))

    def is_whole_resend(self, connection: Connection, found: NewestJob, arrivals: Sequence[Arrival]) -> bool:
        """Tell whether every object of a cancelled or failed series has been sent again since.

        The objects are marked as received now. Only associations that began after the job had ended count.
        """
        if not may_start_again(found):
            return False
        job = _job(connection, found.id)
        ended = None if job is None else job.finished_at
        later = [a.header.sop_uid for a in arrivals if ended is not None and a.association.started_at > ended]
        if not later:
            return False
        own = instances.c.series_id == found.series_id
        again = own & instances.c.sop_uid.in_(later)
        connection.execute(update(instances).where(again).values(received_at=self._db.now()))
        missing = own & (instances.c.variant == 0) & (instances.c.received_at <= ended)
        return connection.execute(select(instances.c.id).where(missing).limit(1)).first() is None


def takes_more(job: NewestJob) -> bool:
    """Tell whether a new slice joins this job: it is still receiving, or was held or cancelled while it was."""
    held = job.state == JobState.HELD and job.code in {Reason.PERSON_HOLDS, Reason.STILL_ARRIVING}
    cancelled = job.state == JobState.CANCELLED and job.code == Reason.PERSON_CANCELS
    return held or cancelled or bool(job.state == JobState.RECEIVED)


def may_start_again(job: NewestJob) -> bool:
    """Tell whether a series that is sent whole again is decided anew: a person cancelled it, or it failed."""
    cancelled = job.state == JobState.CANCELLED and job.code == Reason.PERSON_CANCELS
    return cancelled or job.state == JobState.FAILED


def _job(connection: Connection, job_id: str | None) -> Row[Any] | None:
    columns = "calling_ae", "host", "last_slice_at", "finished_at", "pause", "other_sender", "corrected", "forced"
    return connection.execute(select(*jobs.c[columns]).where(jobs.c.id == job_id)).first()


def _pause(last_slice_at: datetime, arrival: Arrival) -> float:
    """Return how long a sender paused before the association of an arrival, s; 0 if it is no rhythm of sending."""
    pause = (arrival.association.started_at - last_slice_at).total_seconds()
    return pause if 0 < pause <= LONGEST_PAUSE_SECONDS else 0.0


def _by_other_sender(before: Row[Any], arrival: Arrival) -> bool:
    """Tell whether objects were added to a decided series by another sender, and nobody has released them since.

    Objects that were found on the disk after a crash have no address of a sender: who sent them is unknown.
    """
    sender = arrival.association.calling_ae, arrival.association.host
    known = bool(before.host and arrival.association.host)
    return (known and (before.calling_ae, before.host) != sender) or bool(before.other_sender and not before.forced)
