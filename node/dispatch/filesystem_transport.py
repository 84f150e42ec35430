"""The embedded broker: kombu's filesystem transport, with a single rename for each put and get.

kombu writes a message under its final name, so a reader can get it half written, and moves it through the system's
temporary folder. Here a message appears complete or not at all and stays on one file system. The message of a killed
worker is still lost; the ledger keeps the job, and the supervisor sends the message again
(docs/decisions/001-embedded-broker.md).
"""

import contextlib
import json
import os
import time
import uuid
from pathlib import Path
from queue import Empty
from typing import Any

from kombu.transport import filesystem


class Channel(filesystem.Channel):
    """One folder holds the waiting messages of all queues, as `NANOSECONDS_ID.QUEUE.msg`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]
        self._seen: dict[str, list[str]] = {}  # names found by the last listing, the newest first

    def _put(self, queue: str, payload: Any, **_: Any) -> None:  # type: ignore[override]  # kombu's own names differ
        name = f"{time.time_ns():020d}_{uuid.uuid4().hex}.{queue}.msg"
        unfinished = self._folder / f".{name}"
        unfinished.write_text(json.dumps(payload), encoding="utf-8")
        unfinished.rename(self._folder / name)

    def _get(self, queue: str, timeout: float | None = None) -> Any:
        seen = self._seen.get(queue) or sorted(self._waiting(queue), reverse=True)
        self._seen[queue] = seen
        while seen:
            name = seen.pop()
            claimed = self._folder / f".{name}.taken"
            try:
                (self._folder / name).rename(claimed)
            except FileNotFoundError:  # another worker got it first
                continue
            payload = claimed.read_text(encoding="utf-8")
            claimed.unlink()
            return json.loads(payload)
        raise Empty

    def _size(self, queue: str) -> int:
        return len(self._waiting(queue))

    def _waiting(self, queue: str) -> list[str]:
        ending = f".{queue}.msg"
        with os.scandir(self._folder) as found:
            return [file.name for file in found if file.name.endswith(ending) and file.name[0] != "."]

    @property
    def _folder(self) -> Path:
        return Path(self.data_folder_in)


class Transport(filesystem.Transport):
    """The transport named by the Celery setting `broker_transport`.

    It runs in the event loop, as the Redis transport does, because only there Celery gives each child a pipe of its
    own. The pool for blocking transports shares one locked pipe; a child killed while it waits keeps the lock, and
    the worker never runs a job again.
    """

    Channel = Channel
    implements = filesystem.Transport.implements.extend(asynchronous=True)

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Poll for messages every `polling_interval` seconds; a busy worker (prefetch 1) does not poll."""
        loop.call_repeatedly(self.polling_interval, self._get_messages)

    def _get_messages(self) -> None:
        cycle: Any = self.cycle
        with contextlib.suppress(Empty):
            while True:
                cycle.get(self._deliver)
