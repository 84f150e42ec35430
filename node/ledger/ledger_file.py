"""The ledger's file on disk: whether it is still the one that was opened."""

import math
from pathlib import Path

from node.errors import LedgerError, StoreStatus

HEADER_BYTES = 100
LARGEST_PAGE = 65_536
"""Its size does not fit into the two bytes of the header, which hold 1 instead."""


class LedgerFile:
    """Remembers the file behind the open connections.

    SQLite goes on in a file that was deleted, replaced or cut off meanwhile: everything works, and all of it is lost
    at the next start. So each transaction asks first; that takes some microseconds.
    """

    def __init__(self, path: str | None) -> None:
        assert path, "the ledger is a file, never in memory"
        self._path = Path(path)
        found = Path(path).stat()
        self._identity = (found.st_dev, found.st_ino)
        self._size = found.st_size

    def require(self) -> None:
        """Raise LedgerError unless the file is the one that was opened, and has not become shorter.

        A file that a person has compacted (VACUUM) is shorter and whole.
        """
        known = self._size  # read first: another thread may learn of a longer file at any time
        try:
            found = self._path.stat()
        except OSError as error:
            raise self._lost(f"is gone ({error.strerror})") from None
        if (found.st_dev, found.st_ino) != self._identity:
            raise self._lost("is another one than at the start")
        if found.st_size < known and found.st_size < self._size_in_header():
            raise self._lost("was cut off")
        self._size = found.st_size

    def _size_in_header(self) -> float:
        """Return the size in bytes that the file says it has (SQLite file format, 1.3); infinite if it says none."""
        try:
            with self._path.open("rb") as file:
                header = file.read(HEADER_BYTES)
        except OSError:
            return math.inf
        if len(header) < HEADER_BYTES:
            return math.inf
        page_size, pages = int.from_bytes(header[16:18], "big"), int.from_bytes(header[28:32], "big")
        return (LARGEST_PAGE if page_size == 1 else page_size) * pages or math.inf

    def _lost(self, what: str) -> LedgerError:
        return LedgerError(
            f"the file of the ledger, {self._path}, {what}: stop the node, put the ledger back from a backup, and "
            "start the node again; received objects are still in the inbox",
            status=StoreStatus.OUT_OF_RESOURCES,
        )
