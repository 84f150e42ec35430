"""What is known of a series that arrives, refusals, and the first decisions about a job."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Row, insert, select, update

from node.ledger.ids import new_job_id
from node.ledger.records import Decision, Header, Job, Refusal
from node.ledger.store import Store
from node.ledger.tables import instances, jobs, series
from node.states import JobState

REPEAT_WINDOW = timedelta(hours=1)
"""A refusal that repeats within this time of the last one is counted, not written again."""


class Intake(Store):
    """The ledger's side of receiving and deciding."""

    def record_refusal(self, refusal: Refusal) -> str:
        """Write down what belongs to no series as a declined job; repeats are counted on the same row.

        Returns the job's id.
        """
        now = self.now()
        with self._write() as connection:
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
            self._note(connection, job_id, JobState.DECLINED, refusal.reason)
            return job_id

    def slices_of(self, job_id: str) -> list[Header]:
        """Return the headers of all instances of the job's series up to its revision."""
        return [_header(row.header) for row in self._instances(job_id)]

    def instances_of(self, job_id: str) -> list[Path]:
        """Return the files of all instances of the job's series up to its revision, absolute."""
        return [self.data / row.path for row in self._instances(job_id)]

    def _instances(self, job_id: str) -> Sequence[Row[Any]]:
        own = (jobs.c.series_id == instances.c.series_id) & (instances.c.revision <= jobs.c.revision)
        used = (jobs.c.id == job_id) & (instances.c.variant == 0)
        wanted = select(instances).join(jobs, own).where(used).order_by(instances.c.id)
        with self._read() as connection:
            return connection.execute(wanted).all()

    def decide(self, job_id: str, decision: Decision, judged: Job | None = None) -> bool:
        """Carry out what completeness or routing decided.

        judged: the job the decision was made about; when its state is another one now or more slices have arrived,
        nothing changes and it returns False. Raises NotAllowedError, UnknownJobError.
        """
        now = self.now()
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
            # Released by a person, a series that is not whole goes on to routing; a routed one goes to the queue.
            unrouted = decision.destinations is None
            values["resume_state"] = JobState.COMPLETE if unrouted else JobState.QUEUED
        with self._write() as connection:
            row = connection.execute(select(jobs).where(jobs.c.id == job_id).with_for_update()).first()
            if row is not None and judged is not None and _differs(row, judged):
                return False
            if row is not None and row.complete_at is None:
                values["complete_at"] = now
                # Once for all revisions: results of the same slices have the same UIDs, so their bytes must not differ.
                first = (series.c.id == row.series_id) & series.c.created_at.is_(None)
                connection.execute(update(series).where(first).values(created_at=now))
            self._move(connection, job_id, decision.state, **values)
            return True


def _differs(job: Row[Any], judged: Job) -> bool:
    """Tell whether a job is not any more what a decision was made about."""
    return (job.state, job.instances) != (judged.state, judged.instances)


def _header(stored: dict[str, Any]) -> Header:
    values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in stored.items()}
    return Header(**values)
