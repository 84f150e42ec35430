"""The outbox: which result has still to be sent to which peer."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, case, func, or_, select, update

from node.ledger.database import Database
from node.ledger.job_queue import OPEN_DELIVERIES, end_reason
from node.ledger.queries import Queries
from node.ledger.tables import deliveries, jobs
from node.records.results import Backlog, Delivery
from node.records.states import DeliveryState, JobState, Reason

OPEN = OPEN_DELIVERIES
ASSOCIATIONS_PER_PEER = 2
"""At one time, of all workers together: a peer that stalls holds no more threads than its own."""
REMEMBERED = timedelta(days=1)
"""How long it counts that a peer answered late."""


class Outbox:
    """Claims and settles deliveries. A job's state follows from its deliveries, in the same transaction."""

    def __init__(self, database: Database, queries: Queries) -> None:
        self._db = database
        self._queries = queries

    def due(self, redispatch_seconds: float) -> list[int]:
        """Return the ids of deliveries to be announced now.

        Those whose time has come or whose sender died, unless they were announced within `redispatch_seconds`, or as
        many senders as may be send to their peer.
        """
        now = self._db.now()
        before = now - timedelta(seconds=redispatch_seconds)
        told = or_(deliveries.c.last_dispatched_at.is_(None), deliveries.c.last_dispatched_at <= before)
        wanted = select(deliveries.c.id).where(self._claimable(now), told).order_by(deliveries.c.next_at)
        with self._db.read() as connection:
            return list(connection.execute(wanted.where(deliveries.c.peer.not_in(self._busy_peers(now)))).scalars())

    def count_senders(self) -> int:
        """Return how many associations are sending now; a sender whose lease ran out has died."""
        sending = _is_sending(self._db.now())
        with self._db.read() as connection:
            return int(
                connection.execute(select(func.count(deliveries.c.owner.distinct())).where(sending)).scalar_one()
            )

    def mark_dispatched(self, delivery_id: int) -> None:
        """Record that a delivery was announced to the senders just now."""
        self._update(deliveries.c.id == delivery_id, last_dispatched_at=self._db.now())

    def claim(self, delivery_id: int, owner: str, lease_seconds: float) -> Delivery | None:
        """Claim a due delivery for the time of a lease and count the attempt.

        None if it is not due, or `ASSOCIATIONS_PER_PEER` others send to its peer. A delivery whose sender was stopped
        may have arrived, which counts as an attempt without an answer.
        """
        now = self._db.now()
        stopped = case((deliveries.c.state == DeliveryState.SENDING, 1), else_=0)
        with self._db.write() as connection:
            if self._other_senders(connection, delivery_id, owner, now) >= ASSOCIATIONS_PER_PEER:
                return None
            taken = connection.execute(
                update(deliveries)
                .where(deliveries.c.id == delivery_id, self._claimable(now))
                .values(
                    state=DeliveryState.SENDING,
                    owner=owner,
                    lease_until=now + timedelta(seconds=lease_seconds),
                    attempts=deliveries.c.attempts + 1,
                    unanswered=deliveries.c.unanswered + stopped,
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

    def give_back(self, delivery_id: int, owner: str, *, unanswered: bool) -> bool:
        """Make a delivery due again because its sender stops; the attempt does not count."""
        values: dict[str, Any] = {"state": DeliveryState.WAITING, "next_at": self._db.now(), "last_dispatched_at": None}
        values |= {"owner": "", "lease_until": None, "attempts": deliveries.c.attempts - 1}
        return self._update(_mine(delivery_id, owner), **values, unanswered=deliveries.c.unanswered + unanswered)

    def announce_next(self, peer: str) -> None:
        """Have the oldest due delivery of a peer announced again: a sender to this peer has just become free."""
        oldest = (
            select(deliveries.c.id)
            .where(deliveries.c.peer == peer, self._claimable(self._db.now()))
            .order_by(deliveries.c.next_at, deliveries.c.id)
            .limit(1)
            .scalar_subquery()
        )
        self._update(deliveries.c.id == oldest, last_dispatched_at=None)

    def unanswered(self, peer: str) -> int:
        """Return how many attempts in succession one result took until this peer answered, or has not answered yet.

        The largest such number among what is open and what it received in the last day.
        """
        recent = deliveries.c.state.in_(OPEN) | (deliveries.c.delivered_at >= self._db.now() - REMEMBERED)
        wanted = select(func.max(deliveries.c.unanswered)).where(deliveries.c.peer == peer, recent)
        with self._db.read() as connection:
            return int(connection.execute(wanted).scalar() or 0)

    def backlogs(self) -> list[Backlog]:
        """Return what each peer has still to get, the peer with the oldest result first."""
        now = self._db.now()
        waiting = case((self._claimable(now), deliveries.c.next_at))
        sending = func.sum(case((_is_sending(now), 1), else_=0)).label("sending")
        columns = (deliveries.c.peer, func.count().label("results"), func.min(waiting).label("next_at"), sending)
        since = func.min(func.coalesce(deliveries.c.due_since, deliveries.c.next_at)).label("since")
        wanted = select(*columns, since, func.max(deliveries.c.reason).label("reason"))
        wanted = wanted.where(deliveries.c.state.in_(OPEN)).group_by(deliveries.c.peer).order_by("since")
        with self._db.read() as connection:
            rows = connection.execute(wanted).all()
        return [
            Backlog(
                peer=row.peer,
                results=row.results,
                age=_seconds(now, row.since),
                untouched=0.0 if row.sending else _seconds(now, row.next_at),
                reason=row.reason,
            )
            for row in rows
        ]

    @staticmethod
    def _busy_peers(now: datetime) -> Select[tuple[str]]:
        senders = func.count(deliveries.c.owner.distinct())
        busy = select(deliveries.c.peer).where(_is_sending(now)).group_by(deliveries.c.peer)
        return busy.having(senders >= ASSOCIATIONS_PER_PEER)

    @staticmethod
    def _other_senders(connection: Connection, delivery_id: int, owner: str, now: datetime) -> int:
        peer = select(deliveries.c.peer).where(deliveries.c.id == delivery_id).scalar_subquery()
        others = (deliveries.c.peer == peer) & (deliveries.c.owner != owner)
        wanted = select(func.count(deliveries.c.owner.distinct())).where(others, _is_sending(now))
        return int(connection.execute(wanted).scalar_one())

    def failed(
        self, delivery_id: int, owner: str, reason: str, *, next_at: datetime | None, unanswered: bool = False
    ) -> bool:
        """Record a failed attempt: it is repeated at `next_at`, or, without it, the delivery has failed for good.

        A failure for good makes the job failed; other peers still get their results. unanswered: the peer may have the
        result. False if the claim is lost.
        """
        values: dict[str, Any] = {"reason": reason, "state": DeliveryState.FAILED}
        values["unanswered"] = deliveries.c.unanswered + unanswered
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
                conclude(self._db, connection, row.job_id)
            return True

    def _update(self, condition: ColumnElement[bool], **values: Any) -> bool:
        with self._db.write() as connection:
            return bool(connection.execute(update(deliveries).where(condition).values(values)).rowcount)

    @staticmethod
    def _claimable(now: datetime) -> ColumnElement[bool]:
        waiting = (deliveries.c.state == DeliveryState.WAITING) & (deliveries.c.next_at <= now)
        orphaned = (deliveries.c.state == DeliveryState.SENDING) & (deliveries.c.lease_until < now)
        return or_(waiting, orphaned)


def conclude(database: Database, connection: Connection, job_id: str) -> None:
    """Give a delivering job the state that follows from its deliveries."""
    rows = connection.execute(select(deliveries).where(deliveries.c.job_id == job_id)).all()
    failed = next((row for row in rows if row.state == DeliveryState.FAILED), None)
    if failed is not None:
        database.move(
            connection,
            job_id,
            JobState.FAILED,
            code=Reason.DELIVERY_REFUSED,
            reason=f"{failed.peer}: {failed.reason}",
            finished_at=database.now(),
        )
    elif not any(row.state in OPEN for row in rows):
        report = connection.execute(select(jobs.c.report).where(jobs.c.id == job_id)).scalar_one()
        database.move(connection, job_id, JobState.DELIVERED, **end_reason(report), finished_at=database.now())
    else:
        waiting = next((row for row in rows if row.state == DeliveryState.WAITING and row.reason), None)
        told = f"{waiting.peer}: {waiting.reason}" if waiting is not None else ""
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(reason=told))


def _mine(delivery_id: int, owner: str) -> ColumnElement[bool]:
    return (
        (deliveries.c.id == delivery_id) & (deliveries.c.owner == owner) & (deliveries.c.state == DeliveryState.SENDING)
    )


def _is_sending(now: datetime) -> ColumnElement[bool]:
    return (deliveries.c.state == DeliveryState.SENDING) & (deliveries.c.lease_until >= now)


def _seconds(now: datetime, then: datetime | None) -> float:
    """Return how long ago a time was; 0 for none, and for one to come."""
    return 0.0 if then is None else max(0.0, (now - then).total_seconds())
