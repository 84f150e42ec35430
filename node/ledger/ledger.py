"""The ledger as everybody uses it: one object, made of its sides."""

from typing import Self

from node.ledger.database import Clock, utc_now
from node.ledger.decisions import Intake
from node.ledger.instances import Arrivals
from node.ledger.job_queue import Work
from node.ledger.missing_files import Inventory
from node.ledger.operator_actions import Desk
from node.ledger.outbox import Outbox
from node.ledger.retention import Removal
from node.settings.settings import Settings


class Ledger(Arrivals, Intake, Work, Outbox, Desk, Removal, Inventory):
    """Series, jobs, results, deliveries and processes in one SQL database; safe for many processes and threads."""

    @classmethod
    def of(cls, settings: Settings, clock: Clock = utc_now) -> Self:
        """Open the ledger the settings name."""
        return cls.open(settings.database_url, settings.data, clock)
