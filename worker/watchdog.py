"""Watches the child that segments from its parent: a child that stands still is killed, and another one starts.

A hung driver, a dead network file system or SIGSTOP stops a process without ending it. The child writes the time into
shared memory every second, from a thread; the parent reads it. Until another child reports, the parent does not report
itself as alive, so that `status` and `/healthz` tell that nothing is segmented.
"""

import logging
import mmap
import os
import signal
import struct
import threading
import time
from collections.abc import Callable, Collection
from typing import Self

PULSE = struct.Struct("<qd")  # process id, CLOCK_MONOTONIC, which all processes of a machine share
VARIABLE = "QCT_WORKER_PULSE"
PULSE_SECONDS = 1.0
START_SECONDS = 180.0
"""How long a new child may take to its first pulse: it imports the libraries first."""
LATE_SECONDS = 5 * PULSE_SECONDS

log = logging.getLogger(__name__)


class Pulse:
    """A page of shared memory: the child's last sign of life. Children find it by an environment variable."""

    def __init__(self, descriptor: int) -> None:
        self._page = mmap.mmap(descriptor, mmap.PAGESIZE)

    @classmethod
    def create(cls) -> Self:
        """Create the page in the parent, and name it for its children."""
        descriptor = os.memfd_create("qct-worker-pulse")
        os.ftruncate(descriptor, mmap.PAGESIZE)
        os.environ[VARIABLE] = f"/proc/{os.getpid()}/fd/{descriptor}"
        return cls(descriptor)

    @classmethod
    def of_parent(cls) -> Self | None:
        """Open the parent's page in a child; None if the parent has none."""
        path = os.environ.get(VARIABLE)
        if path is None:
            return None
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            return cls(descriptor)
        finally:
            os.close(descriptor)

    def beat(self) -> None:
        """Write that this process is alive now."""
        PULSE.pack_into(self._page, 0, os.getpid(), time.monotonic())

    def last(self) -> tuple[int, float]:
        """Return the process that beat last, and when."""
        pid, at = PULSE.unpack_from(self._page, 0)
        return int(pid), float(at)

    def beat_for_ever(self) -> None:
        """Beat from a thread for as long as this process runs."""

        def run() -> None:
            while True:
                self.beat()
                time.sleep(PULSE_SECONDS)

        threading.Thread(target=run, name="pulse", daemon=True).start()


class Watchdog:
    """Kills a child without a pulse. children: returns the process ids of those that should live (one at most)."""

    def __init__(
        self,
        pulse: Pulse,
        children: Callable[[], Collection[int]],
        limit_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pulse = pulse
        self._children = children
        self._limit = limit_seconds
        self._clock = clock
        self._looked = self._resumed = clock()
        self._since: dict[int, float] = {}
        self._frozen: set[int] = set()

    @property
    def healthy(self) -> bool:
        """Whether no child stands still, and each that was killed for it has been replaced by one with a pulse."""
        return not self._frozen

    def look(self) -> None:
        """Look at the children once; kill those that stand still."""
        now, (beating, last) = self._clock(), self._pulse.last()
        if now - self._looked > LATE_SECONDS:  # this process was paused itself, and so, perhaps, was the child
            self._resumed = now
        self._looked = now
        living = set(self._children())
        self._since = {pid: self._since.get(pid, now) for pid in living}
        for pid in living:
            silent, limit = (
                (now - max(last, self._resumed), self._limit)
                if pid == beating
                else (now - self._since[pid], START_SECONDS)
            )
            if silent > limit:
                if pid not in self._frozen:
                    log.error("process %d, which segments, has stood still for %.0f s and is killed", pid, silent)
                self._frozen.add(pid)
                kill(pid)
            elif pid == beating:
                self._frozen.clear()

    def run(self, done: threading.Event) -> None:
        """Look every second until `done`."""
        while not done.wait(PULSE_SECONDS):
            self.look()


def kill(pid: int) -> None:
    """Kill a process, if it still exists; one that waits for a dead file system ends when that answers again."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
