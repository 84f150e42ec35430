"""Records the arrivals of several associations in one transaction of the ledger."""

from collections import deque
from dataclasses import dataclass
from threading import Lock

from node.errors import LedgerError, NodeError, StoreStatus
from node.ledger import Ledger
from node.records.instances import Arrival, Outcome


@dataclass
class _Entry:
    """An arrival that waits for its transaction, and its result."""

    arrival: Arrival
    outcome: Outcome | None = None
    error: NodeError | None = None


class GroupCommit:
    """Records arrivals; those of all associations that wait at the same time share one transaction.

    The first thread to get the lock writes for all that wait, so a single association never waits for another thread.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._queue: deque[_Entry] = deque()
        self._lock = Lock()

    @property
    def waiting(self) -> int:
        """How many arrivals wait for a transaction."""
        return len(self._queue)

    def record(self, arrival: Arrival) -> Outcome:
        """Record an arrival; when this returns, it is committed. Raises LedgerError."""
        entry = _Entry(arrival)
        self._queue.append(entry)
        with self._lock:
            if entry.outcome is None and entry.error is None:
                self._write()
        if entry.error is not None:
            raise entry.error
        assert entry.outcome is not None
        return entry.outcome

    def _write(self) -> None:
        batch = [self._queue.popleft() for _ in range(len(self._queue))]
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
