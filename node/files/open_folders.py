"""Open folders, kept for reuse: opening one costs as much as its fsync."""

import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from node.files.durable import make_folder


@dataclass
class _Entry:
    """A descriptor, how many threads use it, and whether it has left the cache."""

    descriptor: int
    users: int = 0
    evicted: bool = False


class OpenFolders:
    """Descriptors of the folders used most recently, at most `limit`, plus those in use.

    A descriptor that leaves the cache is closed as soon as no thread uses it. Several threads may use one instance.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._lock = Lock()

    @contextmanager
    def open(self, path: str) -> Iterator[int]:
        """Yield a descriptor of a folder, which is created if necessary. Raises OSError."""
        entry = self._acquire(path)
        try:
            yield entry.descriptor
        finally:
            with self._lock:
                entry.users -= 1
                self._close_if_unused(entry)

    def forget(self, path: str) -> None:
        """Open a folder anew the next time: it has been removed meanwhile."""
        with self._lock:
            entry = self._entries.pop(path, None)
            if entry is not None:
                self._evict(entry)

    def close(self) -> None:
        """Close all descriptors that are not in use."""
        with self._lock:
            while self._entries:
                self._evict(self._entries.popitem()[1])

    def _acquire(self, path: str) -> _Entry:
        with self._lock:
            entry = self._entries.get(path)
            if entry is not None:
                self._entries.move_to_end(path)
                entry.users += 1
                return entry
        make_folder(Path(path))  # without the lock: its fsync takes milliseconds
        opened = _Entry(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), users=1)
        with self._lock:
            replaced = self._entries.pop(path, None)  # another thread may have opened it, too
            self._entries[path] = opened
            if replaced is not None:
                self._evict(replaced)
            if len(self._entries) > self._limit:
                self._evict(self._entries.popitem(last=False)[1])
        return opened

    def _evict(self, entry: _Entry) -> None:
        entry.evicted = True
        self._close_if_unused(entry)

    @staticmethod
    def _close_if_unused(entry: _Entry) -> None:
        if entry.evicted and entry.users == 0:
            os.close(entry.descriptor)
