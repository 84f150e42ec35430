"""Sends `kill -9` to parts of the node at random moments, every kind of part equally often."""

import logging
import os
import random
import signal
import threading
from collections import Counter
from contextlib import suppress

from conftest import poll_until
from e2e.crash.node_under_fire import NodeUnderFire, Target, running_processes, victims

log = logging.getLogger(__name__)


class Killer:
    """A thread that kills until it is told that it is enough; it ends with the round it is in.

    mean_seconds: between two kills. rounds: at least so many; in each, every target is killed once.
    """

    def __init__(self, node: NodeUnderFire, seed: int, mean_seconds: float, rounds: int) -> None:
        self._node = node
        self._rng = random.Random(f"kills {seed}")
        self._mean = mean_seconds
        self._rounds = rounds
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.kills: Counter[Target] = Counter()
        self.failure: BaseException | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def finish(self) -> None:
        """End after the rounds that were promised. Raises what stopped the killer, as a node that does not come up."""
        self._enough.set()
        self._thread.join()
        if self.failure is not None:
            raise self.failure

    def _run(self) -> None:
        try:
            played = 0
            while self._rounds and (played < self._rounds or not self._enough.is_set()):
                for target in self._rng.sample(list(Target), len(Target)):
                    self._wait(played >= self._rounds)
                    if played >= self._rounds and self._enough.is_set():
                        return
                    self._kill(target)
                played += 1
        except BaseException as error:  # noqa: BLE001  # shown by `finish`
            self.failure = error

    def _wait(self, surplus: bool) -> None:
        pause = self._rng.uniform(0.2, 1.8) * self._mean
        (self._enough if surplus else threading.Event()).wait(pause)

    def _kill(self, target: Target) -> None:
        if target is Target.NODE:
            self._node.kill()
            self.kills[target] += 1
            self._node.start()
            return
        found = poll_until(lambda: victims(target, self._node.pid, running_processes()), 60, f"a running {target}")
        with suppress(ProcessLookupError):
            os.kill(self._rng.choice(sorted(found)), signal.SIGKILL)
            self.kills[target] += 1
        log.info("killed: %s", target)
