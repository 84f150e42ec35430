"""Sends `kill -9` to parts of the node at random moments, every kind of part equally often."""

import logging
import os
import random
import signal
import threading
from collections import Counter
from contextlib import suppress

from conftest import poll_until
from e2e.crash.restarted_node import RestartedNode, Target, processes_of, running_processes

log = logging.getLogger(__name__)


class ProcessKiller:
    """A thread that kills processes until `finish` is called; it completes the round it is in.

    mean_seconds: between two kills. rounds: the least number; each round kills every target once.
    """

    def __init__(self, node: RestartedNode, seed: int, mean_seconds: float, rounds: int) -> None:
        self._node = node
        self._rng = random.Random(f"kills {seed}")
        self._mean = mean_seconds
        self._rounds = rounds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.kills: Counter[Target] = Counter()
        self.failure: BaseException | None = None

    def start(self) -> None:
        """Start killing."""
        self._thread.start()

    def finish(self) -> None:
        """Stop after the least number of rounds. Raises what ended the thread early, as when the node did not start."""
        self._stop.set()
        self._thread.join()
        if self.failure is not None:
            raise self.failure

    def _run(self) -> None:
        try:
            rounds_done = 0
            while self._rounds and (rounds_done < self._rounds or not self._stop.is_set()):
                for target in self._rng.sample(list(Target), len(Target)):
                    self._wait(rounds_done >= self._rounds)
                    if rounds_done >= self._rounds and self._stop.is_set():
                        return
                    self._kill(target)
                rounds_done += 1
        except BaseException as error:  # noqa: BLE001  # raised again by `finish`
            self.failure = error

    def _wait(self, surplus: bool) -> None:
        pause = self._rng.uniform(0.2, 1.8) * self._mean
        (self._stop if surplus else threading.Event()).wait(pause)

    def _kill(self, target: Target) -> None:
        if target is Target.NODE:
            self._node.kill()
            self.kills[target] += 1
            self._node.start()
            return
        found = poll_until(
            lambda: processes_of(target, self._node.pid, running_processes()), what=f"a running {target}"
        )
        with suppress(ProcessLookupError):
            os.kill(self._rng.choice(sorted(found)), signal.SIGKILL)
            self.kills[target] += 1
        log.info("killed: %s", target)
