"""Ends associations that the node has opened, from another thread: when its process stops, or a claim is lost."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext


class StopSignal:
    """Once set, it shuts the sockets of the associations under way, and no further one begins.

    above: a signal that, when set, counts as this one being set.
    """

    def __init__(self, above: "StopSignal | None" = None) -> None:
        self._above = above
        self._set = threading.Event()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()

    @property
    def is_set(self) -> bool:
        """Whether it was set."""
        return self._set.is_set() or (self._above is not None and self._above.is_set)

    def set(self) -> None:
        """Shut all sockets: a call that waits for a peer returns at once with an error."""
        self._set.set()
        with self._lock:
            for connection in self._open:
                _shut(connection)

    @contextmanager
    def watching(self, connection: socket.socket) -> Iterator[None]:
        """Shut this socket, too, when the signal is set while the block runs."""
        with self._lock:
            self._open.add(connection)
        try:
            if self.is_set:
                _shut(connection)
            with self._above.watching(connection) if self._above is not None else nullcontext():
                yield
        finally:
            with self._lock:
                self._open.discard(connection)


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
