"""After the clock of the machine was set: times in the ledger that would make the node wait or give up are moved along.

The ledger holds times of day, so that a person can read them; but how long a series has been quiet, how long a claim
lasts and when a delivery is tried again are intervals. A clock that is set back must not stop them until it has caught
up; one that is set forward must not end them all at once.
"""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, select, update

from node.ledger.database import Database
from node.ledger.decisions import ARRIVES
from node.ledger.tables import associations, deliveries, jobs, processes
from node.records.states import DeliveryState, JobState
from node.settings.settings import Settings


class ClockJumps:
    """Moves times in the ledger after the clock has jumped."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def settle(self, settings: Settings, jump: timedelta = timedelta(0)) -> int:
        """Move the times that were written before a jump, which is negative if the clock was set back.

        Without a jump, as at the start of the node, only times are moved that cannot be: past ones that lie in the
        future, leases and pauses longer than the settings allow. Returns how many were moved.
        """
        now = self._db.now()
        pause = timedelta(seconds=0 if jump else max(settings.delivery.backoff_seconds))
        running, sending = jobs.c.state == JobState.RUNNING, deliveries.c.state == DeliveryState.SENDING
        queued, waiting = jobs.c.state == JobState.QUEUED, deliveries.c.state == DeliveryState.WAITING
        # column, which rows, and the latest time that makes sense there
        moves: list[tuple[Column[Any], ColumnElement[bool] | None, datetime]] = [
            (jobs.c.received_at, ARRIVES, now),
            (jobs.c.last_slice_at, ARRIVES, now),
            (jobs.c.last_dispatched_at, queued, now),
            (jobs.c.lease_until, running, now + timedelta(seconds=settings.jobs.lease_seconds)),
            (deliveries.c.last_dispatched_at, waiting, now),
            (deliveries.c.next_at, waiting, now + pause),
            (deliveries.c.lease_until, sending, now + timedelta(seconds=settings.delivery.lease_seconds)),
            (associations.c.ended_at, None, now),
            (processes.c.last_seen, None, now),
        ]
        with self._db.write() as connection:
            return sum(_move(connection, *move, jump) for move in moves)


def _move(
    connection: Connection, column: Column[Any], rows: ColumnElement[bool] | None, latest: datetime, jump: timedelta
) -> int:
    [key] = column.table.primary_key.columns
    wanted = select(key, column).where(column.is_not(None))
    count = 0
    for ident, value in connection.execute(wanted if rows is None else wanted.where(rows)).all():
        # After a jump forward, what was written since is later than anything that was written before.
        before = jump > timedelta(0) and value <= latest - jump
        moved = min(value + jump if before else value, latest)
        if moved != value:
            connection.execute(update(column.table).where(key == ident).values({column.name: moved}))
            count += 1
    return count
