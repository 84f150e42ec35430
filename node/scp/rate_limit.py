"""Limits how often one address may cause a row in the ledger: a caller can invent any number of AE titles."""

import time
from collections import Counter
from threading import Lock

EVENTS = 100
SECONDS = 60.0


class RateLimit:
    """Allows each address `events` events in each period of `seconds`."""

    def __init__(self, events: int = EVENTS, seconds: float = SECONDS) -> None:
        self._events, self._seconds = events, seconds
        self._since = time.monotonic()
        self._counts: Counter[str] = Counter()
        self._lock = Lock()

    def allows(self, host: str) -> bool:
        """Count an event of an address and tell whether it is within the limit."""
        with self._lock:
            if time.monotonic() - self._since >= self._seconds:
                self._since = time.monotonic()
                self._counts.clear()
            self._counts[host] += 1
            return self._counts[host] <= self._events
