"""The kernel's locks on the ledger's files, each waited for during a limited time."""

import fcntl
import os
import time
from pathlib import Path
from threading import Lock

from node.errors import LedgerError, StoreStatus

RETRY_SECONDS = 0.001
"""Between two tries for a lock. A write takes a few milliseconds; flock(2) itself cannot wait for a limited time."""


class WriteLock:
    """Lets one thread of one process at a time write to an SQLite file.

    SQLite itself lets a writer that finds the file locked sleep for up to 100 ms before it tries again. This lock is
    tried every millisecond, and the kernel releases it when its holder dies. A holder that stands still must not stop
    the whole node without a word: after `seconds` the others get a LedgerError.
    """

    def __init__(self, database: str | None, seconds: float) -> None:
        assert database, "the ledger is a file, never in memory"
        self._path = f"{database}.turn"
        self._seconds = seconds
        self._threads = Lock()
        self._file: int | None = None

    def __enter__(self) -> None:
        if not self._threads.acquire(timeout=self._seconds):
            # A thread of ours waits for the file, too, or has it.
            raise _standstill(_holder(self._file) if self._file is not None else None, self._seconds)
        try:
            if self._file is None:
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            lock_file(self._file, self._seconds)
        except BaseException:
            self._threads.release()
            raise

    def __exit__(self, *_error: object) -> None:
        assert self._file is not None
        fcntl.flock(self._file, fcntl.LOCK_UN)
        self._threads.release()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def lock_file(descriptor: int, seconds: float) -> None:
    """Lock a file exclusively. Raises LedgerError, which names the holder, when that takes longer than `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise _standstill(_holder(descriptor), seconds) from None
            time.sleep(RETRY_SECONDS)
        else:
            return


def _standstill(holder: int | None, seconds: float) -> LedgerError:
    process = f"process {holder}" if holder else "another process"
    return LedgerError(
        f"the ledger does not answer: {process} has held its lock for more than {seconds:g} s; if that process stands "
        "still, end it, and the node starts it again",
        retry=True,
        status=StoreStatus.OUT_OF_RESOURCES,
    )


def _holder(descriptor: int) -> int | None:
    """Return the process that holds the lock on a file, as far as the kernel says it (proc(5), /proc/locks)."""
    found = os.fstat(descriptor)
    place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    try:
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            words = line.split()  # 1: FLOCK ADVISORY WRITE 1234 08:02:131 0 EOF
            if "->" not in words and words[1] == "FLOCK" and words[5] == place:
                return int(words[4]) if int(words[4]) > 0 else None
    except (OSError, IndexError, ValueError):
        return None
    return None
