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
from node.ledger.tables import events, instances, jobs
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

    def reopen(self, connection: Connection, found: NewestJob, arrivals: Sequence[Arrival]) -> str | None:
        """Open a revision once every object of a series that may start again has been sent since it ended.

        It uses the content that was sent last. Only associations that began later count, and their objects are marked
        as received now. Returns the job's id; None while objects are missing.
        """
        if found.id is None or not may_start_again(found):
            return None
        ended = connection.execute(select(func.max(events.c.at)).where(events.c.job_id == found.id)).scalar_one()
        later = [arrival for arrival in arrivals if arrival.association.started_at > ended]
        if not later:
            return None
        own = instances.c.series_id == found.series_id
        for arrival in later:
            same = own & (instances.c.sop_uid == arrival.header.sop_uid) & (instances.c.sha256 == arrival.sha256)
            connection.execute(update(instances).where(same).values(received_at=self._db.now()))
        since = select(instances.c.sop_uid).where(own, instances.c.received_at > ended)
        if connection.execute(select(instances.c.id).where(own, instances.c.sop_uid.not_in(since)).limit(1)).first():
            return None
        job_id = self.open(connection, found, later[-1], "the series was sent whole again, so it is decided anew")
        several = select(instances.c.sop_uid).where(own).group_by(instances.c.sop_uid).having(func.count() > 1)
        last = own & (instances.c.received_at > ended) & instances.c.sop_uid.in_(several)
        connection.execute(update(instances).where(last).values(revision=(found.revision or 0) + 1))
        return job_id


def takes_more(job: NewestJob) -> bool:
    """Tell whether a new slice joins this job: it is still receiving, or was held or cancelled while it was."""
    held = job.state == JobState.HELD and job.code in {Reason.PERSON_HOLDS, Reason.STILL_ARRIVING}
    cancelled = job.state == JobState.CANCELLED and job.code == Reason.PERSON_CANCELS
    return held or cancelled or bool(job.state == JobState.RECEIVED)


def may_start_again(job: NewestJob) -> bool:
    """Tell whether a series that is sent whole again is decided anew.

    A person cancelled it, it failed, or it is held because its images belong to several patients or studies.
    """
    cancelled = job.state == JobState.CANCELLED and job.code == Reason.PERSON_CANCELS
    mixed = job.state == JobState.HELD and job.code in {Reason.MIXED_PATIENT, Reason.MIXED_STUDY}
    return cancelled or mixed or job.state == JobState.FAILED


def _job(connection: Connection, job_id: str | None) -> Row[Any] | None:
    columns = "calling_ae", "host", "last_slice_at", "pause", "other_sender", "corrected", "forced"
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
