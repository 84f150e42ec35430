"""How often a caller may have itself written down: titles are free, so rows about callers must not be."""

import time
from collections import Counter
from threading import Lock

NOTES = 100
NOTES_SECONDS = 60.0


class RateLimit:
    """Lets each address have so many notes in a time."""

    def __init__(self, notes: int = NOTES, seconds: float = NOTES_SECONDS) -> None:
        self._most, self._seconds = notes, seconds
        self._since = time.monotonic()
        self._counts: Counter[str] = Counter()
        self._lock = Lock()

    def allows(self, host: str) -> bool:
        """Count a note about an address and tell whether it is still within measure."""
        with self._lock:
            if time.monotonic() - self._since >= self._seconds:
                self._since = time.monotonic()
                self._counts.clear()
            self._counts[host] += 1
            return self._counts[host] <= self._most
