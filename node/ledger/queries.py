"""Reading the ledger: jobs with their results and deliveries, counts and history."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, func, or_, select

from node.errors import UnknownJobError
from node.ledger.database import Database
from node.ledger.tables import deliveries, events, jobs, results, series
from node.records.jobs import Event, Job
from node.records.results import Delivery, Result
from node.records.states import DeliveryState, JobState


class Queries:
    """Reads jobs, their results, deliveries and history."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def jobs(self, state: JobState | None = None, limit: int = 500, search: str = "") -> list[Job]:
        """Return the newest jobs first; search: an id, UID or accession number, or the beginning of one."""
        wanted = _jobs().order_by(jobs.c.last_slice_at.desc(), jobs.c.id.desc()).limit(limit)
        if state is not None:
            wanted = wanted.where(jobs.c.state == state)
        if search:
            columns = (jobs.c.id, series.c.study_uid, series.c.series_uid, series.c.accession)
            wanted = wanted.where(or_(*(column.startswith(search, autoescape=True) for column in columns)))
        return self._load(wanted)

    def job(self, job_id: str) -> Job:
        """Return one job. Raises UnknownJobError."""
        found = self._load(_jobs().where(jobs.c.id == job_id))
        if not found:
            raise UnknownJobError(job_id)
        return found[0]

    def in_state(self, state: JobState) -> list[Job]:
        """Return all jobs in a state, the oldest first (for RECEIVED, `decisions.receiving` is quicker)."""
        return self._load(_jobs().where(jobs.c.state == state).order_by(jobs.c.id))

    def of_study(self, study_uid: str) -> list[Job]:
        """Return the newest revision of every series of a study, in the order of arrival."""
        return self._load(_jobs().where(newest_of_study(study_uid)).order_by(jobs.c.id))

    def earlier_results(self, job_id: str) -> list[str]:
        """Return the keys of the DICOM objects that earlier revisions of the job's series were to deliver, in order."""
        own = select(jobs.c.series_id, jobs.c.revision).where(jobs.c.id == job_id).subquery()
        earlier = (jobs.c.series_id == own.c.series_id) & (jobs.c.revision < own.c.revision)
        sent = select(deliveries.c.result_id)
        wanted = select(results.c.path).join(jobs, jobs.c.id == results.c.job_id).join(own, earlier)
        wanted = wanted.where(results.c.sop_uid != "", results.c.id.in_(sent), jobs.c.removed_at.is_(None))
        with self._db.read() as connection:
            return list(connection.execute(wanted.order_by(jobs.c.revision, results.c.id)).scalars())

    def counts(self) -> dict[JobState, int]:
        """Return how many jobs are in each state; 0 for a state without jobs."""
        with self._db.read() as connection:
            rows = connection.execute(select(jobs.c.state, func.count()).group_by(jobs.c.state)).all()
        found = {row[0]: int(row[1]) for row in rows}
        return {state: found.get(state, 0) for state in JobState}

    def events(self, job_id: str) -> list[Event]:
        """Return a job's history, the oldest first. Raises UnknownJobError."""
        wanted = select(events).where(events.c.job_id == job_id).order_by(events.c.id)
        with self._db.read() as connection:
            rows = connection.execute(wanted).all()
            if not rows and connection.execute(select(jobs.c.id).where(jobs.c.id == job_id)).first() is None:
                raise UnknownJobError(job_id)
        return [Event(row.at, row.state, row.text) for row in rows]

    def _load(self, wanted: Select[Any]) -> list[Job]:
        with self._db.read() as connection:
            rows = connection.execute(wanted).all()
            ids = [row.id for row in rows]
            made = self._results(connection, ids)
            sent = self.deliveries(connection, deliveries.c.job_id.in_(ids))
        by_job: dict[str, list[Delivery]] = defaultdict(list)
        for delivery in sent:
            by_job[delivery.job_id].append(delivery)
        return [_job(row, made[row.id], by_job[row.id]) for row in rows]

    def _results(self, connection: Connection, ids: Sequence[str]) -> dict[str, list[Result]]:
        wanted = select(results).where(results.c.job_id.in_(ids)).order_by(results.c.id)
        found: dict[str, list[Result]] = defaultdict(list)
        for row in connection.execute(wanted):
            found[row.job_id].append(self._result(row))
        return found

    def _result(self, row: Row[Any]) -> Result:
        return Result(row.kind, row.path, row.sha256, row.size, row.sop_class_uid, row.sop_uid)

    def deliveries(self, connection: Connection, condition: ColumnElement[bool]) -> list[Delivery]:
        """Return the deliveries that fulfil a condition, in the order of their creation."""
        columns = [results.c[name] for name in ("kind", "path", "sha256", "size", "sop_class_uid", "sop_uid")]
        joined = select(deliveries, *columns).join(results, results.c.id == deliveries.c.result_id)
        wanted = joined.where(condition).order_by(deliveries.c.id)
        return [
            Delivery(
                id=row.id,
                job_id=row.job_id,
                peer=row.peer,
                state=DeliveryState(row.state),
                result=self._result(row),
                attempts=row.attempts,
                reason=row.reason,
                next_at=row.next_at,
                delivered_at=row.delivered_at,
                unanswered=row.unanswered,
            )
            for row in connection.execute(wanted)
        ]


def newest_of_study(study_uid: str) -> ColumnElement[bool]:
    """Return the condition that a job, joined with its series, is the newest revision of a series of this study."""
    newest = select(func.max(jobs.c.revision)).where(jobs.c.series_id == series.c.id).scalar_subquery()
    return (series.c.study_uid == study_uid) & (jobs.c.revision == newest.correlate(series))


def _jobs() -> Select[Any]:
    # A refusal belongs to no series, hence the outer join.
    columns = [column for column in series.c if column.name != "id"]
    return select(jobs, *columns).outerjoin(series, series.c.id == jobs.c.series_id)


def _job(row: Row[Any], made: Iterable[Result], sent: Iterable[Delivery]) -> Job:
    report = row.report or {}
    return Job(
        id=row.id,
        state=JobState(row.state),
        code=row.code,
        reason=row.reason,
        study_uid=row.study_uid,
        series_uid=row.series_uid,
        revision=row.revision,
        modality=row.modality or "",
        description=row.series_description or "",
        study_description=row.study_description or "",
        body_part=row.body_part or "",
        accession=row.accession or "",
        calling_ae=row.calling_ae,
        called_ae=row.called_ae,
        host=row.host,
        instances=row.instances,
        duplicates=row.duplicates,
        expected=row.expected,
        forced=row.forced,
        route=row.route,
        model=row.model,
        received_at=row.received_at,
        last_slice_at=row.last_slice_at,
        complete_at=row.complete_at,
        created_at=row.created_at,
        queued_at=row.queued_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        removed_at=row.removed_at,
        attempts=row.attempts,
        priority=row.priority,
        destinations=None if row.destinations is None else tuple(row.destinations),
        worker=row.worker,
        stage=row.stage,
        lease_until=row.lease_until,
        stage_seconds={str(stage): float(seconds) for stage, seconds in report.get("timings", {}).items()},
        finding=str(report.get("finding", "")),
        results=tuple(made),
        deliveries=tuple(sent),
    )
