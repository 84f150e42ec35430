"""The ledger: the database of every series, job, result and delivery. SQL stands in this folder only."""

from node.ledger.ledger import Ledger

__all__ = ["Ledger"]
