"""Evidence about series that are arriving, refusals, and the decisions of the supervisor."""

from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, case, func, insert, select, update

from node.ledger.database import Database
from node.ledger.ids import new_job_id
from node.ledger.tables import associations, carried, jobs, series
from node.records.instances import Ending
from node.records.jobs import Decision, Evidence, Job, Receiving, Refusal
from node.records.states import JobState, Reason

REPEAT_WINDOW = timedelta(hours=1)
"""A refusal that repeats within this time is counted on the row of the first one."""

# These run twice a second; to build them each time would take longer than to run them.
IS_OPEN = associations.c.ended_at.is_(None)
SAME_SENDER = (associations.c.calling_ae == jobs.c.calling_ae) & (associations.c.host == jobs.c.host)
# A job that is held only because slices still arrived continues by itself when they stop.
ARRIVES = (jobs.c.state == JobState.RECEIVED) | (
    (jobs.c.state == JobState.HELD) & (jobs.c.code == Reason.STILL_ARRIVING)
)
RECEIVING_JOBS = (
    select(
        *jobs.c["id", "instances", "expected", "forced", "received_at", "last_slice_at", "reason", "state"],
        *jobs.c["calling_ae", "host", "pause", "other_sender", "corrected"],
        *series.c["study_uid", "series_uid"],
    )
    .join(series, series.c.id == jobs.c.series_id)
    .where(ARRIVES)
    .order_by(jobs.c.id)
)
CARRIERS = (
    select(
        jobs.c.id,
        func.sum(case((IS_OPEN, 1), else_=0)).label("open"),
        func.sum(case((IS_OPEN & SAME_SENDER, 1), else_=0)).label("open_of_sender"),
        func.max(associations.c.ended_at).label("ended_at"),
        func.max(case((associations.c.ending.in_((Ending.ABORTED, Ending.LOST)), 1), else_=0)).label("broken"),
    )
    .select_from(jobs)
    .join(carried, carried.c.series_id == jobs.c.series_id)
    .join(associations, associations.c.id == carried.c.association_id)
    # An association that ended before the revision began is no evidence about it.
    .where(ARRIVES, IS_OPEN | (associations.c.ended_at >= jobs.c.received_at))
    .group_by(jobs.c.id)
)
OPEN_BY_SENDER = (
    select(associations.c.calling_ae, associations.c.host, func.count())
    .where(IS_OPEN)
    .group_by(associations.c.calling_ae, associations.c.host)
)


class Decisions:
    """Records decisions about jobs, and returns the evidence they are made from."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def record_refusal(self, refusal: Refusal) -> str:
        """Record a refusal as a declined job without a series; repeats are counted on the same row.

        Returns the job's id.
        """
        now = self._db.now()
        with self._db.write() as connection:
            same = (
                (jobs.c.series_id.is_(None))
                & (jobs.c.calling_ae == refusal.calling_ae)
                & (jobs.c.host == refusal.host)
                & (jobs.c.code == refusal.code)
                & (jobs.c.reason == refusal.reason)
                & (jobs.c.last_slice_at > now - REPEAT_WINDOW)
            )
            found: str | None = connection.execute(select(jobs.c.id).where(same).limit(1)).scalar()
            if found is not None:
                count = {"instances": jobs.c.instances + 1, "last_slice_at": now, "finished_at": now}
                connection.execute(update(jobs).where(jobs.c.id == found).values(count))
                return found
            job_id = new_job_id(now)
            values = asdict(refusal) | {"id": job_id, "state": JobState.DECLINED, "instances": 1}
            times = dict.fromkeys(("received_at", "last_slice_at", "finished_at"), now)
            connection.execute(insert(jobs).values(values | times))
            self._db.note(connection, job_id, JobState.DECLINED, refusal.reason)
            return job_id

    def receiving(self, expected_from: str = "") -> list[Receiving]:
        """Return all jobs whose series are still arriving, with the present evidence, the oldest first.

        expected_from: the name of the peer whose answers `note_expected` recorded.
        """
        with self._db.read() as connection:
            rows = connection.execute(RECEIVING_JOBS).all()
            carriers = {row.id: row for row in connection.execute(CARRIERS)} if rows else {}
            open_of_sender = (
                {(row[0], row[1]): int(row[2]) for row in connection.execute(OPEN_BY_SENDER)} if rows else {}
            )
        now = self._db.now()
        found = []
        for row in rows:
            others = open_of_sender.get((row.calling_ae, row.host), 0)
            evidence = _evidence(row, carriers.get(row.id), others, now)
            evidence = replace(evidence, expected_from=expected_from if row.expected is not None else "")
            known = (row.id, row.study_uid, row.series_uid, row.instances, row.reason)
            found.append(Receiving(*known, evidence, JobState(row.state)))
        return found

    def note_expected(self, job_id: str, images: int) -> None:
        """Record how many images a peer has of a job's series."""
        with self._db.write() as connection:
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(expected=images))

    def _wait(self, job_id: str, state: JobState, reason: str) -> bool:
        """Set what a job is waiting for as its reason; its history does not change."""
        waiting = (jobs.c.id == job_id) & (jobs.c.state == state) & (jobs.c.reason != reason)
        with self._db.write() as connection:
            return bool(connection.execute(update(jobs).where(waiting).values(reason=reason)).rowcount)

    def apply(self, job_id: str, decision: Decision, judged: Job | Receiving | None = None) -> bool:
        """Carry out a decision on completeness or routing.

        judged: the job the decision was made about; when its state is another one now or more slices have arrived,
        nothing changes and it returns False, as it does for a job that waits on for the same reason. Raises
        NotAllowedError, UnknownJobError.
        """
        if decision.state is JobState.RECEIVED or (judged is not None and judged.state is decision.state):
            known = judged is not None and judged.reason == decision.reason
            return not known and self._wait(job_id, decision.state, decision.reason)
        now = self._db.now()
        values: dict[str, Any] = {
            "code": decision.code,
            "reason": decision.reason,
            "priority": decision.priority,
            "route": decision.route,
            "model": decision.model,
        }
        if decision.destinations is not None:
            values["destinations"] = list(decision.destinations)
        if decision.state is JobState.QUEUED:
            values |= {"queued_at": now, "last_dispatched_at": None}
        if decision.state is JobState.DECLINED:
            values["finished_at"] = now
        if decision.state is JobState.HELD:
            # When it is released, a routed job goes to the queue; any other is decided again, with `forced` set.
            unrouted = decision.destinations is None
            values["resume_state"] = jobs.c.state if unrouted else JobState.QUEUED
        with self._db.write() as connection:
            row = connection.execute(select(jobs).where(jobs.c.id == job_id).with_for_update()).first()
            if row is not None and judged is not None and _differs(row, judged):
                return False
            if row is not None and row.complete_at is None:
                values["complete_at"] = now
                # Once for all revisions: results of the same slices have the same UIDs, so their bytes must not differ.
                first = (series.c.id == row.series_id) & series.c.created_at.is_(None)
                connection.execute(update(series).where(first).values(created_at=now))
            self._db.move(connection, job_id, decision.state, **values)
            return True


def _evidence(job: Row[Any], carriers: Row[*tuple[Any, ...]] | None, open_of_sender: int, now: datetime) -> Evidence:
    """Return the evidence about a receiving job. open_of_sender: the open associations of its sender, of any series."""
    ended_at = carriers.ended_at if carriers else None
    return Evidence(
        quiet=(now - job.last_slice_at).total_seconds(),
        waited=(now - job.received_at).total_seconds(),
        open=carriers.open if carriers else 0,
        sender_open=open_of_sender - (carriers.open_of_sender if carriers else 0),
        ended=(now - ended_at).total_seconds() if ended_at else None,
        broken=bool(carriers and carriers.broken),
        expected=job.expected,
        forced=job.forced,
        pause=job.pause,
        other_sender=job.other_sender,
        corrected=job.corrected,
    )


def _differs(job: Row[Any], judged: Job | Receiving) -> bool:
    """Tell whether a job has changed since the decision about it was made."""
    return (job.state, job.instances) != (judged.state, judged.instances)
