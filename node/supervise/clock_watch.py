"""Notices when the clock of the machine is set, by comparing it with one that cannot be set."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta

TOLERANCE = timedelta(seconds=2)
"""Smaller differences do no harm; those of a clock that drifts are corrected more slowly."""


class ClockWatch:
    """Compares the ledger's clock with the time since the machine was started."""

    def __init__(self, clock: Callable[[], datetime], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._started = self._start()

    def jump(self) -> timedelta:
        """Return by how much the clock was set since the last jump, negative if back; zero if it was not."""
        started = self._start()
        jump = started - self._started
        if abs(jump) <= TOLERANCE:
            return timedelta(0)
        self._started = started
        return jump

    def _start(self) -> datetime:
        """Return when the machine was started according to the clock; that changes only when the clock is set."""
        return self._clock() - timedelta(seconds=self._monotonic())
