"""The queue of jobs: dispatch, claim with a lease, finish, stop, give back, recover from dead workers."""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, delete, insert, or_, select, update

from node.ledger.database import Database
from node.ledger.queries import Queries, newest_of_study
from node.ledger.tables import deliveries, jobs, results, series
from node.records.jobs import Decision, Job, series_name
from node.records.results import Result
from node.records.states import DeliveryState, JobState, Reason


def released(reason: str = "", code: str = "") -> dict[str, Any]:
    """Return the columns of a job that no worker has claimed."""
    return {"worker": "", "stage": "", "lease_until": None, "reason": reason, "code": code}


def attempt_of(worker: str) -> str:
    """Return the name of an attempt, which is the random end of the name of the worker's claim."""
    return worker.rpartition("-")[2]


def end_reason(report: Mapping[str, Any] | None) -> dict[str, str]:
    """Return reason and code of a job that ended well: empty, or that no femur was found."""
    finding = str((report or {}).get("finding", ""))
    return {"reason": finding, "code": Reason.NO_FEMUR if finding else ""}


OPEN_DELIVERIES = (DeliveryState.WAITING, DeliveryState.SENDING)


class JobQueue:
    """The queue of jobs for the workers."""

    def __init__(self, database: Database, queries: Queries) -> None:
        self._db = database
        self._queries = queries

    def due(self, redispatch_seconds: float) -> list[str]:
        """Return the ids of queued jobs not announced to the workers within this time, the most urgent first."""
        before = self._db.now() - timedelta(seconds=redispatch_seconds)
        due = or_(jobs.c.last_dispatched_at.is_(None), jobs.c.last_dispatched_at <= before)
        with self._db.read() as connection:
            return list(connection.execute(_by_urgency().where(due)).scalars())

    def most_urgent(self) -> str | None:
        """Return the id of the queued job to be run next: highest priority, then longest in the queue."""
        with self._db.read() as connection:
            found: str | None = connection.execute(_by_urgency().limit(1)).scalar()
            return found

    def mark_dispatched(self, job_id: str) -> None:
        """Record that a queued job was announced to the workers just now."""
        with self._db.write() as connection:
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(last_dispatched_at=self._db.now()))

    def claim(self, job_id: str, worker: str, lease_seconds: float) -> Job | None:
        """Claim a queued job for a worker for the time of a lease, and count the attempt.

        Returns None when another worker has it or it is no longer in the queue.
        """
        now = self._db.now()
        values = {
            "state": JobState.RUNNING,
            "worker": worker,
            "stage": "",
            "lease_until": now + timedelta(seconds=lease_seconds),
            "attempts": jobs.c.attempts + 1,
            "started_at": now,
            "reason": "",
            "code": "",
        }
        with self._db.write() as connection:
            wanted = (jobs.c.id == job_id) & (jobs.c.state == JobState.QUEUED)
            if not connection.execute(update(jobs).where(wanted).values(values)).rowcount:
                return None
            self._db.note(connection, job_id, JobState.RUNNING, f"claimed by {worker}")
        return self._queries.job(job_id)

    def extend_lease(self, job_id: str, worker: str, lease_seconds: float, stage: str) -> bool:
        """Extend the lease and record the stage. False: the claim is lost or the job cancelled, so stop."""
        values = {"lease_until": self._db.now() + timedelta(seconds=lease_seconds), "stage": stage}
        with self._db.write() as connection:
            return bool(connection.execute(update(jobs).where(_mine(job_id, worker)).values(values)).rowcount)

    def finish(
        self,
        job_id: str,
        worker: str,
        recipients: Mapping[Result, Sequence[str]],
        report: dict[str, Any],
    ) -> bool:
        """Record the results, their deliveries and the new state in one transaction; False if the claim is lost.

        recipients: every result made, in order, with the peers it is sent to. report: the segmenter's; its `timings`
        (stage -> seconds) are shown with the job, and so is its `finding`, the sentence that nothing was found.
        """
        now = self._db.now()
        with self._db.write() as connection:
            job = connection.execute(select(jobs).where(_mine(job_id, worker)).with_for_update()).first()
            if job is None:
                return False
            # An earlier run of the same job may have left the same results; its rows are replaced.
            connection.execute(delete(deliveries).where(deliveries.c.job_id == job_id))
            connection.execute(delete(results).where(results.c.job_id == job_id))
            for result, peers in recipients.items():
                self._add_result(connection, job_id, result, peers)
            sending = any(recipients.values())
            values = released(**end_reason(report)) | {"report": report}
            if not sending:
                lack = "no destination wants them" if job.destinations else "no destination is set"
                told = filter(None, (values["reason"], f"{lack}: the results stay here"))
                values |= {"reason": "; ".join(told), "code": Reason.NO_DESTINATION, "finished_at": now}
            self._db.move(connection, job_id, JobState.DELIVERING if sending else JobState.DELIVERED, **values)
            self._replace_earlier(connection, job)
            if report.get("finding"):
                self._reconsider_passed_over(connection, job)
            return True

    def _replace_earlier(self, connection: Connection, job: Row[Any]) -> None:
        """Tell of earlier results of the series that they are out of date; what is not sent of them stays here."""
        made = select(results.c.job_id).where(results.c.sop_uid != "")
        earlier = (jobs.c.series_id == job.series_id) & (jobs.c.revision < job.revision) & jobs.c.id.in_(made)
        sentence = f"out of date: the results of job {job.id}, of {job.instances} images, replace these"
        values: dict[str, Any] = {"code": Reason.REPLACED, "reason": sentence}
        for row in connection.execute(select(jobs).where(earlier, jobs.c.code != Reason.REPLACED)).all():
            still_open = (deliveries.c.job_id == row.id) & deliveries.c.state.in_(OPEN_DELIVERIES)
            unsent = {"state": DeliveryState.CANCELLED, "owner": "", "lease_until": None, "reason": sentence}
            connection.execute(update(deliveries).where(still_open).values(unsent))
            if row.state in {JobState.DELIVERING, JobState.FAILED}:
                self._db.move(connection, row.id, JobState.CANCELLED, **values, finished_at=self._db.now())
            else:
                connection.execute(update(jobs).where(jobs.c.id == row.id).values(values))
                self._db.note(connection, row.id, row.state, sentence)

    def recorded_attempts(self, job_ids: Collection[str]) -> dict[str, set[str]]:
        """Return, for those of these jobs that exist, the attempts whose folders must stay: claimed or recorded."""
        kept: dict[str, set[str]] = {}
        with self._db.read() as connection:  # one transaction: an attempt ends its claim and is recorded in one, too
            for row in connection.execute(select(jobs.c.id, jobs.c.worker)):
                if row.id in job_ids:
                    kept[row.id] = {attempt_of(row.worker)}
            for row in connection.execute(select(results.c.job_id, results.c.path)):
                if row.job_id in kept:
                    kept[row.job_id].add(PurePosixPath(row.path).parent.name)
        return kept

    def _add_result(self, connection: Connection, job_id: str, result: Result, peers: Sequence[str]) -> None:
        values = vars(result) | {"path": result.key, "job_id": job_id}
        values.pop("key")
        row_id = connection.execute(insert(results).values(values)).inserted_primary_key
        assert row_id is not None
        for peer in peers:
            connection.execute(
                insert(deliveries).values(
                    job_id=job_id,
                    result_id=row_id[0],
                    peer=peer,
                    state=DeliveryState.WAITING,
                    next_at=self._db.now(),
                    due_since=self._db.now(),
                )
            )

    def stop(self, job_id: str, worker: str, decision: Decision) -> bool:
        """End the worker's claim without a result: declined, held, failed, or queued for another attempt.

        Returns False if the claim was lost already.
        """
        values = released(decision.reason, decision.code)
        if decision.state is JobState.QUEUED:
            values["last_dispatched_at"] = None
        if decision.state is JobState.HELD:
            values["resume_state"] = JobState.QUEUED
        if decision.state in {JobState.DECLINED, JobState.FAILED}:
            values["finished_at"] = self._db.now()
        return self._end_claim(job_id, worker, decision.state, values)

    def give_back(self, job_id: str, worker: str) -> bool:
        """Return a job to the queue on a clean shutdown; the attempt does not count."""
        values = released() | {"attempts": jobs.c.attempts - 1, "last_dispatched_at": None, "started_at": None}
        return self._end_claim(job_id, worker, JobState.QUEUED, values)

    def _end_claim(self, job_id: str, worker: str, state: JobState, values: dict[str, Any]) -> bool:
        with self._db.write() as connection:
            job = connection.execute(select(jobs).where(_mine(job_id, worker)).with_for_update()).first()
            if job is None:
                return False
            self._db.move(connection, job_id, state, **values)
            if state is JobState.DECLINED:
                self._reconsider_passed_over(connection, job)
            return True

    def _reconsider_passed_over(self, connection: Connection, job: Row[Any]) -> None:
        """Decide again on the series that were declined in favour of this one, which gave no segmentation."""
        chosen = connection.execute(select(series).where(series.c.id == job.series_id)).one()
        passed_over = (
            select(jobs.c.id)
            .join(series, series.c.id == jobs.c.series_id)
            .where(newest_of_study(chosen.study_uid), jobs.c.route == job.route)
            .where(jobs.c.state == JobState.DECLINED, jobs.c.code == Reason.NOT_BEST, jobs.c.removed_at.is_(None))
        )
        name = series_name(chosen.series_description, chosen.series_uid)
        values = released(f"series {name} of the study was taken before this one and gave no segmentation")
        for job_id in list(connection.execute(passed_over).scalars()):
            self._db.move(connection, job_id, JobState.COMPLETE, **values, finished_at=None)

    def reap_expired(self, max_attempts: int) -> list[str]:
        """End the claims whose lease ran out: the job returns to the queue, or fails after so many attempts.

        Returns the ids.
        """
        now = self._db.now()
        expired = (jobs.c.state == JobState.RUNNING) & (jobs.c.lease_until < now)
        with self._db.write() as connection:
            rows = connection.execute(select(jobs).where(expired).with_for_update()).all()
            for job in rows:
                if job.attempts >= max_attempts:
                    sentence = f"its worker died {job.attempts} times, last in stage {job.stage or 'start'}"
                    values = released(sentence, Reason.WORKER_DIED) | {"finished_at": now}
                    self._db.move(connection, job.id, JobState.FAILED, **values)
                else:
                    sentence = f"its worker {job.worker} no longer reports"
                    values = released(sentence, Reason.WORKER_DIED) | {"last_dispatched_at": None}
                    self._db.move(connection, job.id, JobState.QUEUED, **values)
        return [job.id for job in rows]


def _by_urgency() -> Select[str]:
    return (
        select(jobs.c.id)
        .where(jobs.c.state == JobState.QUEUED)
        .order_by(jobs.c.priority.desc(), jobs.c.queued_at, jobs.c.id)
    )


def _mine(job_id: str, worker: str) -> ColumnElement[bool]:
    """Return the condition that the worker still has the claim, even if its lease has just run out."""
    return (jobs.c.id == job_id) & (jobs.c.worker == worker) & (jobs.c.state == JobState.RUNNING)
