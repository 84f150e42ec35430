"""The ledger: one database, and one small object for each of its tasks."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from sqlalchemy.engine import make_url

from node.ledger.associations import Associations
from node.ledger.broker_waits import BrokerWaits
from node.ledger.clock_jumps import ClockJumps
from node.ledger.database import Clock, Database, utc_now
from node.ledger.decisions import Decisions
from node.ledger.instances import Instances
from node.ledger.job_queue import JobQueue
from node.ledger.missing_files import MissingFiles
from node.ledger.operator_actions import OperatorActions
from node.ledger.outbox import Outbox
from node.ledger.processes import ProcessHeartbeats
from node.ledger.queries import Queries
from node.ledger.resends import Resends
from node.ledger.retention import Retention
from node.settings.settings import Settings


@dataclass(frozen=True)
class Ledger:
    """Series, jobs, results, deliveries and processes in one SQL database; safe for many processes and threads."""

    database: Database
    instances: Instances
    resends: Resends
    associations: Associations
    decisions: Decisions
    queue: JobQueue
    outbox: Outbox
    operator: OperatorActions
    queries: Queries
    missing_files: MissingFiles
    retention: Retention
    processes: ProcessHeartbeats
    clock_jumps: ClockJumps
    broker_waits: BrokerWaits

    @classmethod
    def of(cls, settings: Settings, clock: Clock = utc_now) -> Self:
        """Open the ledger the settings name."""
        return cls.open(settings.database_url, settings.data, clock)

    @classmethod
    def open(cls, url: str, data: Path, clock: Clock = utc_now) -> Self:
        """Open the ledger at an SQLAlchemy URL and bring it up to date; several processes may do so at once.

        Raises LedgerError when the database cannot be reached or was written by a newer version.
        """
        return cls.over(Database.open(url, data, clock))

    @staticmethod
    def absent_file(settings: Settings) -> Path | None:
        """Return the path of the ledger's file if it does not exist yet, else None."""
        file = Path(make_url(settings.database_url).database or "")
        return None if file.is_file() else file

    @classmethod
    def over(cls, database: Database) -> Self:
        """Return the ledger over an open database."""
        associations, queries = Associations(database), Queries(database)
        instances = Instances(database, associations)
        return cls(
            database=database,
            instances=instances,
            resends=Resends(database, instances),
            associations=associations,
            decisions=Decisions(database),
            queue=JobQueue(database, queries),
            outbox=Outbox(database, queries),
            operator=OperatorActions(database, queries),
            queries=queries,
            missing_files=MissingFiles(database),
            retention=Retention(database),
            processes=ProcessHeartbeats(database),
            clock_jumps=ClockJumps(database),
            broker_waits=BrokerWaits(database),
        )

    @property
    def data(self) -> Path:
        """The data folder; paths in the database are relative to it."""
        return self.database.data

    def now(self) -> datetime:
        """Return the present time, aware, UTC."""
        return self.database.now()

    def close(self) -> None:
        """Close all connections."""
        self.database.close()
