"""Limits how often one address may cause a row in the ledger: a caller can invent any number of AE titles."""

import time
from collections import defaultdict
from threading import Lock

EVENTS = 100
SECONDS = 60.0


class RateLimit:
    """Allows each address `events` events in each period of `seconds`."""

    def __init__(self, events: int = EVENTS, seconds: float = SECONDS) -> None:
        self._events, self._seconds = events, seconds
        self._since = time.monotonic()
        self._counts: defaultdict[str, int] = defaultdict(int)
        self._known: defaultdict[str, set[str]] = defaultdict(set)
        self._lock = Lock()

    def allows(self, host: str, row: str = "") -> bool:
        """Count an event of an address and tell whether it is within the limit.

        row: the row it would be counted on; only the first event of each row counts. Empty: every event counts.
        """
        with self._lock:
            if time.monotonic() - self._since >= self._seconds:
                self._since = time.monotonic()
                self._counts.clear()
                self._known.clear()
            if row and row in self._known[host]:
                return True
            self._counts[host] += 1
            allowed = self._counts[host] <= self._events
            if allowed and row:
                self._known[host].add(row)
            return allowed

    def just_exceeded(self, host: str) -> bool:
        """Tell whether the last event of an address was the first beyond the limit in this period."""
        with self._lock:
            return self._counts.get(host) == self._events + 1
