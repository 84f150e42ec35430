"""What arrives: instances, revisions of their series, refusals, and the first decisions about a job."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from node.ledger.ids import new_job_id
from node.ledger.records import Arrival, Decision, Header, Job, Outcome, Refusal
from node.ledger.store import Store
from node.ledger.tables import instances, jobs, series
from node.states import UNFINISHED, JobState, Reason

REPEAT_WINDOW = timedelta(hours=1)
"""A refusal that repeats within this time of the last one is counted, not written again."""


class Intake(Store):
    """The ledger's side of receiving and deciding."""

    def record_instance(self, arrival: Arrival) -> Outcome:
        """Write down an object whose bytes are on disk; opens or revises the job of its series.

        Nothing changes for a duplicate or a conflict. When this returns, the row is committed.
        """
        with self._write() as connection:
            series_id = _series_id(connection, arrival.header)
            values = {
                "series_id": series_id,
                "revision": 1,
                "sop_uid": arrival.header.sop_uid,
                "transfer_syntax": arrival.transfer_syntax,
                "path": self._relative(arrival.path),
                "sha256": arrival.sha256,
                "size": arrival.size,
                "received_at": self.now(),
                "header": asdict(arrival.header),
            }
            if not _insert_new(connection, instances, values):
                known = connection.execute(
                    select(instances.c.sha256).where(instances.c.sop_uid == arrival.header.sop_uid)
                ).scalar_one()
                return Outcome.DUPLICATE if known == arrival.sha256 else Outcome.CONFLICT
            revision = self._count_slice(connection, series_id, arrival)
            if revision != 1:
                connection.execute(
                    update(instances).where(instances.c.sop_uid == arrival.header.sop_uid).values(revision=revision)
                )
        return Outcome.NEW

    def _count_slice(self, connection: Connection, series_id: int, arrival: Arrival) -> int:
        """Add one instance to the series' open job, or open the next revision; return the revision."""
        newest = select(jobs).where(jobs.c.series_id == series_id).order_by(jobs.c.revision.desc()).limit(1)
        # Locked, so that a decision about fewer slices cannot come in between.
        last = connection.execute(newest.with_for_update()).first()
        if last is not None and _takes_more(last):
            connection.execute(
                update(jobs)
                .where(jobs.c.id == last.id)
                .values(instances=jobs.c.instances + 1, last_slice_at=self.now())
            )
            return int(last.revision)
        revision, instances_so_far = (last.revision, last.instances) if last is not None else (0, 0)
        if last is not None and JobState(last.state) in UNFINISHED:
            sentence = "more slices arrived, so a new revision of the series takes its place"
            self._move(connection, last.id, JobState.CANCELLED, code=Reason.SUPERSEDED, reason=sentence)
            connection.execute(update(jobs).where(jobs.c.id == last.id).values(finished_at=self.now()))
        self._open(connection, series_id, revision + 1, instances_so_far + 1, arrival)
        return int(revision) + 1

    def _open(self, connection: Connection, series_id: int, revision: int, count: int, arrival: Arrival) -> None:
        job_id = new_job_id(self.now())
        connection.execute(
            insert(jobs).values(
                id=job_id,
                series_id=series_id,
                revision=revision,
                state=JobState.RECEIVED,
                calling_ae=arrival.calling_ae,
                host=arrival.host,
                instances=count,
                received_at=self.now(),
                last_slice_at=self.now(),
            )
        )
        sentence = "the first slice arrived" if revision == 1 else f"a late slice opened revision {revision}"
        self._note(connection, job_id, JobState.RECEIVED, sentence)

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
        wanted = select(instances).join(jobs, own).where(jobs.c.id == job_id).order_by(instances.c.id)
        with self._read() as connection:
            return connection.execute(wanted).all()

    def decide(self, job_id: str, decision: Decision, judged: Job | None = None) -> bool:
        """Carry out what completeness or routing decided.

        judged: the job the decision was made about; when its state is another one now or more slices have arrived,
        nothing changes and it returns False. Raises NotAllowedError, UnknownJobError.
        """
        now = self.now()
        values: dict[str, Any] = {"code": decision.code, "reason": decision.reason, "priority": decision.priority}
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


def _takes_more(job: Row[Any]) -> bool:
    """Tell whether a new slice joins this job: it is still receiving, or a person held or cancelled it."""
    held = job.state == JobState.HELD and job.code == Reason.PERSON_HOLDS
    cancelled = job.state == JobState.CANCELLED and job.code == Reason.PERSON_CANCELS
    return held or cancelled or bool(job.state == JobState.RECEIVED)


def _series_id(connection: Connection, header: Header) -> int:
    """Return the id of the series' row, which is made if need be, and hold its lock."""
    key = (series.c.study_uid == header.study_uid) & (series.c.series_uid == header.series_uid)
    # The row stays locked, so that concurrent slices of one series queue up here on PostgreSQL, too.
    locked = select(series.c.id).where(key).with_for_update()
    found = connection.execute(locked).scalar()
    if found is None:
        values = {
            "study_uid": header.study_uid,
            "series_uid": header.series_uid,
            "modality": header.modality[:16],
            "accession": header.accession[:64],
            "study_description": header.study_description[:64],
            "series_description": header.series_description[:64],
            "body_part": header.body_part[:64],
        }
        _insert_new(connection, series, values)
        found = connection.execute(locked).scalar_one()
    return int(found)


def _insert_new(connection: Connection, table: Any, values: dict[str, Any]) -> bool:
    """Insert a row unless its unique key is taken; tell whether it was inserted."""
    dialect_insert = sqlite_insert if connection.dialect.name == "sqlite" else postgres_insert
    statement = dialect_insert(table).values(values).on_conflict_do_nothing().returning(table.c.id)
    return connection.execute(statement).first() is not None


def _header(stored: dict[str, Any]) -> Header:
    values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in stored.items()}
    return Header(**values)
