"""What an operator may do with a job: hold, release, cancel, retry."""

from typing import Any

from sqlalchemy import Connection, select, update

from node.errors import NotAllowedError, UnknownJobError
from node.ledger.database import Database
from node.ledger.job_queue import released
from node.ledger.outbox import OPEN
from node.ledger.queries import Queries
from node.ledger.tables import deliveries, jobs
from node.records.states import DeliveryState, JobState, Reason


class OperatorActions:
    """Carries out what an operator asks for; `actor` says who it was and stands in the history of the job."""

    def __init__(self, database: Database, queries: Queries) -> None:
        self._db = database
        self._queries = queries

    def hold(self, job_id: str, actor: str) -> None:
        """Hold a job that has no result yet, until it is released. Raises NotAllowedError, UnknownJobError."""
        with self._db.write() as connection:
            state = self._state(connection, job_id)
            resume = JobState.QUEUED if state is JobState.RUNNING else state
            values = released("a person holds it; `release` lets it go on", Reason.PERSON_HOLDS)
            self._db.move(connection, job_id, JobState.HELD, f"held by {actor}", **values, resume_state=resume)

    def release(self, job_id: str, actor: str) -> JobState:
        """Let a held job continue, or start a receiving one with the slices that are here; return its state.

        A job that the node held is not held again for being incomplete. Raises NotAllowedError, UnknownJobError.
        """
        with self._db.write() as connection:
            state = self._state(connection, job_id)
            if state is JobState.RECEIVED:
                connection.execute(update(jobs).where(jobs.c.id == job_id).values(forced=True))
                self._db.note(connection, job_id, state, f"released by {actor} with the slices that are here")
                return state
            if state is not JobState.HELD:
                raise NotAllowedError(f"job {job_id} is {state}; only a held or receiving job can be released")
            job = connection.execute(select(jobs.c.resume_state, jobs.c.code).where(jobs.c.id == job_id)).one()
            resume = JobState(job.resume_state)
            ours = job.code != Reason.PERSON_HOLDS and resume in {JobState.RECEIVED, JobState.COMPLETE}
            forced = {"forced": True} if ours else {}
            self._db.move(connection, job_id, resume, f"released by {actor}", **self._again(resume), **forced)
            return resume

    def cancel(self, job_id: str, actor: str) -> None:
        """Stop a job and what it still has to deliver. Raises NotAllowedError, UnknownJobError."""
        with self._db.write() as connection:
            values = released("a person cancelled it", Reason.PERSON_CANCELS)
            note = f"cancelled by {actor}"
            self._db.move(connection, job_id, JobState.CANCELLED, note, **values, finished_at=self._db.now())
            still_open = (deliveries.c.job_id == job_id) & deliveries.c.state.in_(OPEN)
            connection.execute(
                update(deliveries).where(still_open).values(state=DeliveryState.CANCELLED, owner="", lease_until=None)
            )

    def retry(self, job_id: str, actor: str) -> JobState:
        """Repeat exactly what failed, and return the job's new state.

        A failed delivery is sent again if its file is still what the worker made, any other failed job is segmented
        again with fresh attempts; a declined or cancelled one is decided again, a declined one with `forced`
        set. Raises NotAllowedError, UnknownJobError.
        """
        failed = [d for d in self._queries.job(job_id).deliveries if d.state is DeliveryState.FAILED]
        sendable = all(delivery.result.fault(self._db.data / delivery.result.key) is None for delivery in failed)
        with self._db.write() as connection:
            state = self._state(connection, job_id)
            if state not in {JobState.FAILED, JobState.DECLINED, JobState.CANCELLED}:
                raise NotAllowedError(
                    f"job {job_id} is {state}; only a failed, declined or cancelled job can be retried"
                )
            self._check_series(connection, job_id)
            if state is not JobState.FAILED:
                target = JobState.RECEIVED
            elif sendable and self._reopen_deliveries(connection, job_id):
                target = JobState.DELIVERING
            else:
                target = JobState.QUEUED
            forced = {"forced": True} if state is JobState.DECLINED else {}
            self._db.move(
                connection, job_id, target, f"retried by {actor}", **self._again(target), **forced, finished_at=None
            )
            return target

    def _again(self, state: JobState) -> dict[str, Any]:
        values = released() | {"resume_state": "", "last_dispatched_at": None}
        if state is JobState.QUEUED:
            values |= {"queued_at": self._db.now(), "attempts": 0}
        if state is JobState.RECEIVED:
            values |= {"destinations": None, "attempts": 0}
        return values

    def _reopen_deliveries(self, connection: Connection, job_id: str) -> bool:
        failed = (deliveries.c.job_id == job_id) & (deliveries.c.state == DeliveryState.FAILED)
        fresh = {
            "state": DeliveryState.WAITING,
            "attempts": 0,
            "next_at": self._db.now(),
            "due_since": self._db.now(),
            "last_dispatched_at": None,
        }
        return bool(connection.execute(update(deliveries).where(failed).values(fresh)).rowcount)

    def _check_series(self, connection: Connection, job_id: str) -> None:
        """Refuse to retry a job without a series, with a later revision, or without files."""
        job = connection.execute(select(jobs).where(jobs.c.id == job_id)).one()
        if job.series_id is None:
            raise NotAllowedError(f"job {job_id} belongs to no series; send its objects again")
        later = (jobs.c.series_id == job.series_id) & (jobs.c.revision > job.revision)
        newer = connection.execute(select(jobs.c.id).where(later).limit(1)).scalar()
        if newer is not None:
            raise NotAllowedError(f"job {job_id} was superseded by job {newer}; retry that one")
        if job.removed_at is not None:
            raise NotAllowedError(
                f"the files of job {job_id} were removed on {job.removed_at:%Y-%m-%d}; send them again"
            )

    @staticmethod
    def _state(connection: Connection, job_id: str) -> JobState:
        state = connection.execute(select(jobs.c.state).where(jobs.c.id == job_id).with_for_update()).scalar()
        if state is None:
            raise UnknownJobError(job_id)
        return JobState(state)
