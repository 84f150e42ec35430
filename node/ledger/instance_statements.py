"""The statements that every received object takes, as SQL text on SQLite's own connection.

Through SQLAlchemy's engine and result each of them takes several times as long.
"""

import json
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

NEWEST = """
SELECT series.id, jobs.id, jobs.revision, jobs.state, jobs.code, jobs.instances, jobs.removed_at,
    series.modality
FROM series LEFT JOIN jobs ON jobs.series_id = series.id
WHERE series.study_uid = ? AND series.series_uid = ?
ORDER BY jobs.revision DESC LIMIT 1
"""
INSERT = """
INSERT INTO instances
    (series_id, revision, sop_uid, variant, transfer_syntax, path, sha256, size, received_at, header)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""
VARIANTS = "SELECT sha256, variant FROM instances WHERE series_id = ? AND sop_uid = ?"
COUNT_NEW = "UPDATE jobs SET instances = instances + ?, last_slice_at = ? WHERE id = ?"
COUNT_DUPLICATES = "UPDATE jobs SET duplicates = duplicates + ? WHERE id = ?"


class NewestJob(NamedTuple):
    """A series and its newest job; without a job, all but `series_id` and `modality` is None."""

    series_id: int
    id: str | None
    revision: int | None
    state: str | None
    code: str | None
    instances: int | None
    removed_at: str | None
    modality: str = "CT"


class Instance(NamedTuple):
    """The columns of an instance, in the order of INSERT."""

    series_id: int
    revision: int
    sop_uid: str
    variant: int
    transfer_syntax: str
    path: str
    sha256: str
    size: int
    received_at: datetime
    header: dict[str, Any]


class InstanceStatements:
    """Runs the statements in the transaction of a connection."""

    def __init__(self, connection: Connection) -> None:
        self._sqlite: Any = connection.connection.driver_connection

    def newest_job(self, study_uid: str, series_uid: str) -> NewestJob | None:
        """Return a series' id with its newest job; None when the series is new."""
        row = self._sqlite.execute(NEWEST, (study_uid, series_uid)).fetchone()
        return None if row is None else NewestJob(*row)

    def insert(self, instance: Instance) -> bool:
        """Insert an instance; False when its series, SOP Instance UID and variant are there already."""
        *columns, received_at, header = instance
        values = (*columns, _stored(received_at), json.dumps(header))
        return bool(self._sqlite.execute(INSERT, values).rowcount)

    def variants(self, series_id: int, sop_uid: str) -> list[tuple[str, int]]:
        """Return digest and variant of every instance that came under a SOP Instance UID."""
        found: list[tuple[str, int]] = self._sqlite.execute(VARIANTS, (series_id, sop_uid)).fetchall()
        return found

    def count_new(self, job_id: str | None, number: int, at: datetime) -> None:
        """Add new instances to a job, the last of which came at this time."""
        self._sqlite.execute(COUNT_NEW, (number, _stored(at), job_id))

    def count_duplicates(self, job_id: str, number: int) -> None:
        """Add duplicates to a job."""
        self._sqlite.execute(COUNT_DUPLICATES, (number, job_id))


def _stored(at: datetime) -> str:
    """Return a time as SQLAlchemy stores it in SQLite: UTC, without a zone."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
