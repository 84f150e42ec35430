"""Jobs that wait because the broker does not take messages: the reason says so while it lasts."""

from sqlalchemy import select, update

from node.ledger.database import Database
from node.ledger.tables import jobs
from node.records.states import JobState, Reason

WAITING = jobs.c.state.in_((JobState.QUEUED, JobState.DELIVERING))


class BrokerWaits:
    """Sets and clears the reason; the history of the jobs does not change."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def explain(self, sentence: str) -> None:
        """Give waiting jobs without a reason this one."""
        plain = WAITING & (jobs.c.reason == "")
        with self._db.read() as connection:
            if connection.execute(select(jobs.c.id).where(plain).limit(1)).first() is None:
                return
        with self._db.write() as connection:
            values = {"reason": sentence, "code": Reason.BROKER_DOWN}
            connection.execute(update(jobs).where(plain).values(values))

    def clear(self, sentence: str) -> None:
        """Take the reason back, from jobs that do not have another one by now: the broker takes messages again."""
        told = WAITING & (jobs.c.code == Reason.BROKER_DOWN)
        with self._db.write() as connection:
            connection.execute(update(jobs).where(told, jobs.c.reason == sentence).values(reason=""))
            connection.execute(update(jobs).where(told).values(code=""))
