"""What an operator may do with a job: hold, release, cancel, retry."""

from typing import Any

from sqlalchemy import Connection, insert, select, update

from node.decide.due_now import DueNow
from node.errors import NotAllowedError, UnknownJobError
from node.ledger.database import Database
from node.ledger.job_queue import released
from node.ledger.outbox import OPEN, conclude
from node.ledger.queries import Queries
from node.ledger.tables import deliveries, jobs, results
from node.records.jobs import Job
from node.records.states import DeliveryState, JobState, Reason

RETRIED = frozenset({JobState.FAILED, JobState.DECLINED, JobState.CANCELLED})


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

    def retry(self, job_id: str, actor: str, due: DueNow | None = None) -> JobState:
        """Repeat what failed, and return the job's new state.

        A failed delivery is sent again if its file is still what the worker made, any other failed job is segmented
        again with fresh attempts; a declined or cancelled one is decided again, a declined one with `forced` set.
        due: what the present settings ask for, which is then what a failed or delivering job owes; None: what it owed
        before. Raises NotAllowedError, UnknownJobError.
        """
        job = self._queries.job(job_id)
        intact = self._intact(job, due)
        with self._db.write() as connection:
            state = self._state(connection, job_id)
            if state not in RETRIED and not (due and state is JobState.DELIVERING):
                raise NotAllowedError(
                    f"job {job_id} is {state}; only a failed, delivering, declined or cancelled job can be retried"
                )
            self._check_series(connection, job_id)
            if state in {JobState.DECLINED, JobState.CANCELLED}:
                target, routed = JobState.RECEIVED, {}
            else:
                routed = _routed(job_id, due) if due else {}
                sends = intact and any(d.state in {*OPEN, DeliveryState.FAILED} for d in job.deliveries)
                target = JobState.DELIVERING if sends or state is JobState.DELIVERING else JobState.QUEUED
            if target is JobState.DELIVERING:
                self._reopen_deliveries(connection, job_id, due)
                routed.pop("model", None)  # it names the one that made the results
            if state is JobState.DELIVERING:
                connection.execute(update(jobs).where(jobs.c.id == job_id).values(routed))
                self._db.note(connection, job_id, state, f"retried by {actor}")
            else:
                forced = {"forced": True} if state is JobState.DECLINED else {}
                values = self._again(target) | forced | routed | {"finished_at": None}
                self._db.move(connection, job_id, target, f"retried by {actor}", **values)
            if target is JobState.DELIVERING:
                conclude(self._db, connection, job_id)
            return self._state(connection, job_id)

    def _intact(self, job: Job, due: DueNow | None) -> bool:
        """Tell whether every file that is to be sent is what the worker made."""
        failed = {d.result for d in job.deliveries if d.state is DeliveryState.FAILED}
        sent = failed if due is None else {result for result in job.results if due.owed.get(result.key)}
        return all(result.fault(self._db.data / result.key) is None for result in sent)

    def _again(self, state: JobState) -> dict[str, Any]:
        values = released() | {"resume_state": "", "last_dispatched_at": None}
        if state is JobState.QUEUED:
            values |= {"queued_at": self._db.now(), "attempts": 0}
        if state is JobState.RECEIVED:
            values |= {"destinations": None, "attempts": 0}
        return values

    def _reopen_deliveries(self, connection: Connection, job_id: str, due: DueNow | None) -> None:
        """Make the failed deliveries due, or all that the present settings ask for and no others."""
        now = self._db.now()
        fresh = {"state": DeliveryState.WAITING, "attempts": 0, "last_dispatched_at": None}
        fresh |= {"next_at": now, "due_since": now}
        own = deliveries.c.job_id == job_id
        if due is None:
            failed = own & (deliveries.c.state == DeliveryState.FAILED)
            connection.execute(update(deliveries).where(failed).values(fresh))
            return
        listed = {row.path: row.id for row in connection.execute(select(results).where(results.c.job_id == job_id))}
        if not listed.keys() <= due.owed.keys():  # a worker has made others since; else none of them would be sent
            raise NotAllowedError(f"job {job_id} has got new results in the meantime; look at it and retry again")
        owed = {(listed[key], peer) for key, peers in due.owed.items() if key in listed for peer in peers}
        for row in connection.execute(select(deliveries).where(own)).all():
            is_owed = (row.result_id, row.peer) in owed
            owed.discard((row.result_id, row.peer))
            # What is being sent just now goes on: its sender settles it.
            if is_owed and row.state not in {DeliveryState.DELIVERED, DeliveryState.SENDING}:
                values = fresh
            elif not is_owed and row.state != DeliveryState.DELIVERED:
                values = {"state": DeliveryState.CANCELLED, "reason": "the present settings do not ask for it"}
                values |= {"owner": "", "lease_until": None}
            else:
                continue
            connection.execute(update(deliveries).where(deliveries.c.id == row.id).values(values))
        for result_id, peer in sorted(owed):
            values = fresh | {"job_id": job_id, "result_id": result_id, "peer": peer}
            connection.execute(insert(deliveries).values(values))

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


def _routed(job_id: str, due: DueNow) -> dict[str, Any]:
    """Return the columns of the present route. Raises NotAllowedError when it does not segment the series."""
    decision = due.decision
    if decision.destinations is None:
        raise NotAllowedError(
            f"job {job_id} is not wanted by the present settings: {decision.reason}; change them, or cancel the job"
        )
    return {
        "destinations": list(decision.destinations),
        "route": decision.route,
        "model": decision.model,
        "priority": decision.priority,
    }
