"""Child processes of `qct-node up`: started, watched, restarted after a growing pause, and stopped together.

A child never outlives its parent: the kernel kills it when the parent dies (prctl(2), PR_SET_PDEATHSIG), and Celery
does the same for the worker's own children. So no port stays in use after `kill -9`.
"""

import ctypes
import fcntl
import logging
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self

from node.errors import NodeError

PARENT_VARIABLE = "QCT_PARENT_PID"
PR_SET_PDEATHSIG = 1
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
STEADY_AFTER = 60.0  # s; a part that ran so long is restarted without a longer pause

log = logging.getLogger(__name__)


class DataLock:
    """The kernel's lock on a data folder: one node per folder, and nothing to clean up after a crash."""

    def __init__(self, data: Path, name: str = "node.lock") -> None:
        self._path = data / name
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        """Take the lock or raise NodeError naming the process that holds it."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("a+", encoding="ascii")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read(20).strip() or "unknown"
            file.close()
            raise NodeError(
                f"Another node (process {holder}) already uses {self._path.parent}; "
                "stop it or choose another folder with --data."
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        self._file = file

    def release(self) -> None:
        """Release the lock; the kernel does it, too, when the process ends."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_error: object) -> None:
        self.release()


def reserve_port(host: str, port: int, what: str, backlog: int | None = None) -> socket.socket:
    """Return a socket that reserves a port (0 = any free one) for a part; raises NodeError when it is in use.

    Without a backlog it is bound but does not listen: a server that sets SO_REUSEADDR, as ours do, can still bind and
    listen there, while the kernel does not use the port for an outgoing connection in between. With one it listens, and
    is to be handed down to the part.
    """
    held = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held.bind((host, port))
        if backlog is not None:
            held.listen(backlog)
    except OSError as error:
        held.close()
        raise NodeError(f"{what}: cannot listen on {host}:{port} ({error.strerror or error}).") from error
    return held


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies, if it is a part of the node."""
    expected = os.environ.get(PARENT_VARIABLE)
    if expected is None or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(expected):  # it died before the call
        sys.exit(1)


@contextmanager
def private() -> Iterator[None]:
    """Keep what this process and its children hold from others: it is patient data.

    Files are readable by their user only; there are no core dumps, which would hold the images of the day.
    """
    mask, limits = os.umask(0o077), resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, limits[1]))
    try:
        yield
    finally:
        os.umask(mask)
        resource.setrlimit(resource.RLIMIT_CORE, limits)


@dataclass(frozen=True)
class Part:
    """One part of the node: its name in the log, its command line and the file descriptors it inherits."""

    name: str
    command: tuple[str, ...]
    inherited: tuple[int, ...] = ()


@dataclass
class Child:
    """A part's process, and when the part may be started again."""

    part: Part
    process: subprocess.Popen[str] | None = None
    started: float = 0.0
    start_at: float = 0.0
    pause: float = FIRST_PAUSE
    quick_ends: int = 0
    pump: threading.Thread | None = field(default=None, repr=False)


class ProcessGroup:
    """The running parts. Call `watch` and `stop` from one lasting thread: a part dies with its starter."""

    def __init__(
        self,
        parts: Sequence[Part],
        environment: Mapping[str, str],
        on_line: Callable[[str, str], None],
        clock: Callable[[], float] = time.monotonic,
        on_end: Callable[[int], None] = lambda _pid: None,
    ) -> None:
        self._children = [Child(part) for part in parts]
        self._environment = {**environment, PARENT_VARIABLE: str(os.getpid()), "PYTHONUNBUFFERED": "1"}
        self._on_line = on_line
        self._clock = clock
        self._on_end = on_end

    def watch(self) -> None:
        """Start parts that do not run and whose pause is over; note those that have ended."""
        for child in self._children:
            if child.process is not None and child.process.poll() is not None:
                self._ended(child, child.process.returncode)
            if child.process is None and self._clock() >= child.start_at:
                self._start(child)

    def failing(self, limit: int = 3) -> str | None:
        """Return the name of a part that ended `limit` times in a row soon after its start, or None."""
        return next((child.part.name for child in self._children if child.quick_ends >= limit), None)

    def pids(self) -> dict[str, int]:
        """Return the process id of each running part by name."""
        return {child.part.name: child.process.pid for child in self._children if child.process is not None}

    def stop(self, timeout: float) -> None:
        """Ask every part to stop, wait up to `timeout` seconds, then kill those left, with their children."""
        running = [child.process for child in self._children if child.process is not None]
        for process in running:
            process.terminate()
        deadline = self._clock() + timeout
        for process in running:
            try:
                process.wait(max(0.0, deadline - self._clock()))
            except subprocess.TimeoutExpired:
                log.warning("process %d did not stop within %.0f s and was killed", process.pid, timeout)
            _kill_group(process.pid)
            process.wait()
        for child in self._children:
            child.process = None
            if child.pump is not None:
                child.pump.join(2.0)

    def _start(self, child: Child) -> None:
        child.process = subprocess.Popen(
            child.part.command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            pass_fds=child.part.inherited,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            process_group=0,  # Ctrl-C in the terminal signals `up` only, which stops its parts in order
        )
        child.started = self._clock()
        child.pump = threading.Thread(target=self._pump, args=(child.part.name, child.process.stdout), daemon=True)
        child.pump.start()

    def _pump(self, name: str, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                self._on_line(name, line.rstrip("\n"))

    def _ended(self, child: Child, code: int) -> None:
        assert child.process is not None
        _kill_group(child.process.pid)
        self._on_end(child.process.pid)
        lifetime = self._clock() - child.started
        steady = lifetime >= STEADY_AFTER
        child.pause = FIRST_PAUSE if steady else min(child.pause * 2, LONGEST_PAUSE)
        child.quick_ends = 0 if steady else child.quick_ends + 1
        child.start_at = self._clock() + child.pause
        child.process = None
        log.warning(
            "%s ended with code %d after %.0f s; it is restarted in %.1f s",
            child.part.name,
            code,
            lifetime,
            child.pause,
        )


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return
