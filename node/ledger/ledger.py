"""The ledger as everybody uses it: one object, made of its sides."""

from typing import Self

from node.ledger.arrivals import Arrivals
from node.ledger.desk import Desk
from node.ledger.intake import Intake
from node.ledger.inventory import Inventory
from node.ledger.outbox import Outbox
from node.ledger.removal import Removal
from node.ledger.store import Clock, utc_now
from node.ledger.work import Work
from node.settings import Settings


class Ledger(Arrivals, Intake, Work, Outbox, Desk, Removal, Inventory):
    """Series, jobs, results, deliveries and processes in one SQL database; safe for many processes and threads."""

    @classmethod
    def of(cls, settings: Settings, clock: Clock = utc_now) -> Self:
        """Open the ledger the settings name."""
        return cls.open(settings.database_url, settings.data, clock)
