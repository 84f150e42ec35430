"""HTTP connections with deadlines and limits: idle and slow ones cannot keep the page from answering.

uvicorn closes a connection that is idle after a response, but waits for ever for the first request, for the rest of
one, and for a reader of the response.
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_SECONDS = 10.0
"""A connection that has not sent the whole header of its next request by then is closed."""
RESPONSE_SECONDS = 60.0
"""A response that has not been read by then is given up."""
MAX_CONNECTIONS = 500
MAX_PER_ADDRESS = 100
"""More than this many connections close those of them that have waited longest without a request."""

FILES = MAX_CONNECTIONS + 500
"""Open files of the process: these connections, those of one round of accept, the ledger, pictures."""


class LimitedProtocol(H11Protocol):
    """uvicorn's protocol with a deadline for each request and each response, and limits of connections."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Make room for the connection, or close it; then wait for its first request."""
        super().connection_made(transport)
        others = [one for one in self.connections if isinstance(one, LimitedProtocol) and one is not self]
        same = [one for one in others if one.address == self.address]
        self._opened = self.loop.time()
        self._set_deadline(REQUEST_SECONDS)
        crowd = same if len(same) >= MAX_PER_ADDRESS else others if len(others) >= MAX_CONNECTIONS else None
        if crowd is not None and not _close_one_that_waits(crowd):
            transport.abort()

    @property
    def address(self) -> str:
        """The address of the other side."""
        return self.client[0] if self.client else ""

    @property
    def waits(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def opened(self) -> float:
        """When the connection was accepted, on the clock of the event loop."""
        return self._opened

    def handle_events(self) -> None:
        """Handle what has arrived; a request that is complete up to its body starts the time of its response."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before and not self.transport.is_closing():
            self._set_deadline(RESPONSE_SECONDS)

    def on_response_complete(self) -> None:
        """Wait for the next request, longer while the response is still being read."""
        self._set_deadline(RESPONSE_SECONDS if self.transport.get_write_buffer_size() else REQUEST_SECONDS)
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline."""
        self._set_deadline(None)
        super().connection_lost(exc)

    def _set_deadline(self, seconds: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self.transport.abort)


def _close_one_that_waits(connections: Iterable[Any]) -> bool:
    """Close the connection that has waited longest; False if all of them are being answered."""
    waiting = [one for one in connections if one.waits and not one.transport.is_closing()]
    if not waiting:
        return False
    min(waiting, key=lambda one: one.opened).transport.abort()
    return True


class NoClientFaults(logging.Filter):
    """Drops uvicorn's records about requests that are no HTTP: any client could fill the log with them."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the record is about us."""
        return record.levelno != logging.WARNING
