"""Commits the arrivals of several associations in one transaction of the ledger."""

from collections import deque
from dataclasses import dataclass
from threading import Lock

from node.errors import LedgerError, NodeError, StoreStatus
from node.ledger import Ledger
from node.records.instances import Arrival, Outcome


@dataclass
class _Entry:
    """An arrival on its way into the ledger, and what became of it."""

    arrival: Arrival
    outcome: Outcome | None = None
    error: NodeError | None = None


class GroupCommit:
    """Writes arrivals down, those of all associations that wait at one time in one transaction.

    Whoever gets the turn writes for everybody in line, so a single association never waits for another thread.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._line: deque[_Entry] = deque()
        self._turn = Lock()

    def record(self, arrival: Arrival) -> Outcome:
        """Write an arrival down; when this returns, it is committed. Raises LedgerError."""
        entry = _Entry(arrival)
        self._line.append(entry)
        with self._turn:
            if entry.outcome is None and entry.error is None:
                self._write()
        if entry.error is not None:
            raise entry.error
        assert entry.outcome is not None
        return entry.outcome

    def _write(self) -> None:
        batch = [self._line.popleft() for _ in range(len(self._line))]
        try:
            outcomes = self._ledger.instances.record_all([entry.arrival for entry in batch])
        except NodeError as error:
            for entry in batch:
                entry.error = error
        except BaseException:
            for entry in batch:
                entry.error = LedgerError("the ledger failed", retry=True, status=StoreStatus.INTERNAL)
            raise
        else:
            for entry, outcome in zip(batch, outcomes, strict=True):
                entry.outcome = outcome
