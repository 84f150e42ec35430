"""The outbox: which result has still to be sent to which peer."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, or_, select, update

from node.ledger.database import Database
from node.ledger.job_queue import end_reason
from node.ledger.queries import Queries
from node.ledger.tables import deliveries, jobs
from node.records.results import Delivery
from node.records.states import DeliveryState, JobState, Reason

OPEN = (DeliveryState.WAITING, DeliveryState.SENDING)


class Outbox:
    """Claims and settles deliveries. A job's state follows from its deliveries, in the same transaction."""

    def __init__(self, database: Database, queries: Queries) -> None:
        self._db = database
        self._queries = queries

    def due(self, redispatch_seconds: float) -> list[int]:
        """Return the ids of deliveries to be announced now.

        Those whose time has come or whose sender died, unless they were announced within `redispatch_seconds`.
        """
        now = self._db.now()
        before = now - timedelta(seconds=redispatch_seconds)
        told = or_(deliveries.c.last_dispatched_at.is_(None), deliveries.c.last_dispatched_at <= before)
        wanted = select(deliveries.c.id).where(self._claimable(now), told).order_by(deliveries.c.next_at)
        with self._db.read() as connection:
            return list(connection.execute(wanted).scalars())

    def count_senders(self) -> int:
        """Return how many associations are sending now; a sender whose lease ran out has died."""
        sending = (deliveries.c.state == DeliveryState.SENDING) & (deliveries.c.lease_until >= self._db.now())
        with self._db.read() as connection:
            return int(
                connection.execute(select(func.count(deliveries.c.owner.distinct())).where(sending)).scalar_one()
            )

    def mark_dispatched(self, delivery_id: int) -> None:
        """Record that a delivery was announced to the senders just now."""
        self._update(deliveries.c.id == delivery_id, last_dispatched_at=self._db.now())

    def claim(self, delivery_id: int, owner: str, lease_seconds: float) -> Delivery | None:
        """Claim a due delivery for the time of a lease and count the attempt; None if it is not due."""
        now = self._db.now()
        with self._db.write() as connection:
            taken = connection.execute(
                update(deliveries)
                .where(deliveries.c.id == delivery_id, self._claimable(now))
                .values(
                    state=DeliveryState.SENDING,
                    owner=owner,
                    lease_until=now + timedelta(seconds=lease_seconds),
                    attempts=deliveries.c.attempts + 1,
                )
            )
            if not taken.rowcount:
                return None
            return self._queries.deliveries(connection, deliveries.c.id == delivery_id)[0]

    def extend_lease(self, delivery_id: int, owner: str, lease_seconds: float) -> bool:
        """Extend the lease of a long transfer. False: the claim is lost."""
        until = self._db.now() + timedelta(seconds=lease_seconds)
        return self._update(_mine(delivery_id, owner), lease_until=until)

    def delivered(self, delivery_id: int, owner: str) -> bool:
        """Record that the peer has the result; with the last one the job is delivered. False if the claim is lost."""
        values = {"state": DeliveryState.DELIVERED, "delivered_at": self._db.now(), "reason": ""}
        return self._settle(delivery_id, owner, values, "")

    def failed(self, delivery_id: int, owner: str, reason: str, *, next_at: datetime | None) -> bool:
        """Record a failed attempt: it is repeated at `next_at`, or, without it, the delivery has failed for good.

        A failure for good makes the job failed; other peers still get their results. False if the claim is lost.
        """
        values: dict[str, Any] = {"reason": reason, "state": DeliveryState.FAILED}
        if next_at is not None:
            values |= {"state": DeliveryState.WAITING, "next_at": next_at, "last_dispatched_at": None}
        return self._settle(delivery_id, owner, values, reason)

    def _settle(self, delivery_id: int, owner: str, values: dict[str, Any], reason: str) -> bool:
        released = values | {"owner": "", "lease_until": None}
        with self._db.write() as connection:
            row = connection.execute(select(deliveries).where(deliveries.c.id == delivery_id)).first()
            if row is None:
                return False
            # The job is locked first: of two last deliveries that end together, one must see the other.
            state = JobState(
                connection.execute(select(jobs.c.state).where(jobs.c.id == row.job_id).with_for_update()).scalar_one()
            )
            mine = update(deliveries).where(_mine(delivery_id, owner))
            if not connection.execute(mine.values(released)).rowcount:
                return False
            word = "accepted" if values["state"] is DeliveryState.DELIVERED else "did not accept"
            self._db.note(connection, row.job_id, state, f"{row.peer} {word} a result{f': {reason}' if reason else ''}")
            if state is JobState.DELIVERING:
                self._conclude(connection, row.job_id)
            return True

    def _conclude(self, connection: Connection, job_id: str) -> None:
        rows = connection.execute(select(deliveries).where(deliveries.c.job_id == job_id)).all()
        failed = next((row for row in rows if row.state == DeliveryState.FAILED), None)
        if failed is not None:
            self._db.move(
                connection,
                job_id,
                JobState.FAILED,
                code=Reason.DELIVERY_REFUSED,
                reason=f"{failed.peer}: {failed.reason}",
                finished_at=self._db.now(),
            )
        elif not any(row.state in OPEN for row in rows):
            report = connection.execute(select(jobs.c.report).where(jobs.c.id == job_id)).scalar_one()
            self._db.move(connection, job_id, JobState.DELIVERED, **end_reason(report), finished_at=self._db.now())
        else:
            waiting = next((row for row in rows if row.state == DeliveryState.WAITING and row.reason), None)
            told = f"{waiting.peer}: {waiting.reason}" if waiting is not None else ""
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(reason=told))

    def _update(self, condition: ColumnElement[bool], **values: Any) -> bool:
        with self._db.write() as connection:
            return bool(connection.execute(update(deliveries).where(condition).values(values)).rowcount)

    @staticmethod
    def _claimable(now: datetime) -> ColumnElement[bool]:
        waiting = (deliveries.c.state == DeliveryState.WAITING) & (deliveries.c.next_at <= now)
        orphaned = (deliveries.c.state == DeliveryState.SENDING) & (deliveries.c.lease_until < now)
        return or_(waiting, orphaned)


def _mine(delivery_id: int, owner: str) -> ColumnElement[bool]:
    return (
        (deliveries.c.id == delivery_id) & (deliveries.c.owner == owner) & (deliveries.c.state == DeliveryState.SENDING)
    )
