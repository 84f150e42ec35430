"""Extends the lease of a claimed job from a thread; interrupts the work if the claim is lost or the worker stops."""

import logging
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType

log = logging.getLogger(__name__)

INTERRUPT = signal.SIGUSR2  # not used by Celery; SIGUSR1 is its soft time limit


class ClaimLostError(BaseException):
    """The claim is lost: the job was cancelled, superseded or given to another worker. Nothing may be recorded."""


class StoppingError(BaseException):
    """The worker must stop; the job must be returned to the queue."""


class Heartbeat:
    """Extends one claim while the `with` block runs; must be entered in the main thread of the process.

    `beat(stage)` extends the lease and returns False if the claim is lost. The block is then interrupted with
    ClaimLostError; the signal `INTERRUPT` from outside interrupts it with StoppingError. Both derive from
    BaseException, so that no library handles them as an ordinary error.
    """

    def __init__(self, beat: Callable[[str], bool], every: float) -> None:
        self._beat = beat
        self._every = every
        self._stage = "claimed"
        self._lost = False
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def stage(self, name: str) -> None:
        """Record the new stage of the work. Raises ClaimLostError."""
        self._stage = name
        self._beat_once()
        if self._lost:
            raise ClaimLostError

    def __enter__(self) -> "Heartbeat":
        signal.signal(INTERRUPT, self._interrupted)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        signal.signal(INTERRUPT, signal.SIG_IGN)
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(self._every):
            self._beat_once()
            if self._lost and not self._done.is_set():
                os.kill(os.getpid(), INTERRUPT)
                return

    def _beat_once(self) -> None:
        try:
            self._lost = self._lost or not self._beat(self._stage)
        except Exception:  # a short failure of the ledger does no harm while the lease lasts
            log.warning("no heartbeat could be written", exc_info=True)

    def _interrupted(self, _signal: int, _frame: FrameType | None) -> None:
        if not self._done.is_set():
            self._done.set()  # the cleanup must not be interrupted again
            raise ClaimLostError if self._lost else StoppingError
