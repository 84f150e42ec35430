"""The ledger: the one home of SQL and of the truth about every series, job, result and delivery."""

from node.ledger.ledger import Ledger

__all__ = ["Ledger"]
