"""Slots for associations, shared by all receiver processes of a node: they limit the total and those of one peer.

The table is anonymous shared memory, so nothing is left behind when the node dies.
"""

import fcntl
import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256

ENTRY = struct.Struct("<q8s")  # process id, hash of the caller
FREE = 0


class AssociationSlots:
    """A table of `count` slots (`total`). Another process opens the same table by its file descriptor."""

    def __init__(self, count: int, descriptor: int | None = None) -> None:
        self.descriptor = os.memfd_create("qct-node-slots") if descriptor is None else descriptor
        if descriptor is None:
            os.ftruncate(self.descriptor, count * ENTRY.size)
        self.total = os.fstat(self.descriptor).st_size // ENTRY.size
        self._table = mmap.mmap(self.descriptor, self.total * ENTRY.size)

    def acquire(self, caller: str, limit: int | None = None, leave: int = 0) -> int | None:
        """Acquire a slot for a caller, who may have `limit` of them and must leave so many free.

        Returns its number, or None when there is none.
        """
        key = sha256(caller.encode()).digest()[:8]
        with self._locked():
            entries = list(self._entries())
            if limit is not None and sum(pid != FREE and found == key for pid, found in entries) >= limit:
                return None
            free = [number for number, (pid, _) in enumerate(entries) if pid == FREE]
            if len(free) <= leave:
                return None
            ENTRY.pack_into(self._table, free[0] * ENTRY.size, os.getpid(), key)
            return free[0]

    def release(self, slot: int) -> None:
        """Release a slot."""
        ENTRY.pack_into(self._table, slot * ENTRY.size, FREE, bytes(8))

    def release_process(self, pid: int) -> None:
        """Release the slots of a process that has ended."""
        with self._locked():
            for slot, (holder, _) in enumerate(self._entries()):
                if holder == pid:
                    self.release(slot)

    def in_use(self) -> int:
        """Return how many slots are in use."""
        return sum(pid != FREE for pid, _ in self._entries())

    def close(self) -> None:
        """Close the table; its memory is freed when the last process has closed it."""
        self._table.close()
        os.close(self.descriptor)

    def _entries(self) -> Iterator[tuple[int, bytes]]:
        for slot in range(self.total):
            pid, key = ENTRY.unpack_from(self._table, slot * ENTRY.size)
            yield pid, key

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # A new open file description each time: flock locks belong to one, and threads must exclude each other, too.
        handle = os.open(f"/proc/self/fd/{self.descriptor}", os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)
