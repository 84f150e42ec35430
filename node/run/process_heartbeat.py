"""The heartbeat of a process: it reports to the ledger from a thread, and `status` and `/healthz` read that."""

import logging
import os
import socket
import threading
from collections.abc import Callable
from types import TracebackType

from node.errors import NodeError
from node.ledger import Ledger
from node.records.processes import ProcessKind, process_name

log = logging.getLogger(__name__)


class ProcessHeartbeat:
    """Reports this process, of one kind, while the `with` block runs.

    healthy: while it returns False the process does not report, as if it were dead: it cannot do its work.
    """

    def __init__(
        self, ledger: Ledger, kind: ProcessKind, every: float, healthy: Callable[[], bool] = lambda: True
    ) -> None:
        self._ledger = ledger
        self._kind = kind
        self._host = socket.gethostname()
        self._name = process_name(kind)
        self._every = every
        self._healthy = healthy
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin to report; a second call does nothing."""
        if not self._thread.is_alive() and not self._done.is_set():
            self._thread.start()

    def stop(self) -> None:
        """Stop reporting and remove the process from the ledger."""
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()
            self._report(self._ledger.processes.remove, self._name)

    def __enter__(self) -> "ProcessHeartbeat":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        while True:
            if self._healthy():
                self._report(self._ledger.processes.report, self._name, self._kind, self._host, os.getpid())
            if self._done.wait(self._every):
                return

    @staticmethod
    def _report(report: Callable[..., None], *values: object) -> None:
        try:
            report(*values)
        except Exception as error:  # a ledger that fails for a moment must not end the heartbeat
            log.warning(
                "the heartbeat of this process could not be recorded: %s",
                error,
                exc_info=not isinstance(error, NodeError),
            )
