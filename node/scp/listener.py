"""The Storage and Verification SCP of one process: takes connections and gives each a thread."""

import gc
import logging
import os
import resource
import selectors
import socket
import threading
import time
from collections import Counter
from typing import Self

from node.errors import NodeError
from node.ledger import Ledger
from node.records.processes import process_name
from node.scp.acceptor import Acceptor, AcceptorContext
from node.scp.admission import AdmissionPolicy
from node.scp.association_slots import AssociationSlots
from node.scp.storage import Storage
from node.settings.settings import Settings

log = logging.getLogger(__name__)

BACKLOG = 1024
LAST_WORDS_SECONDS = 5.0
"""How long a running association may go on when the node stops."""
STACK_BYTES = 1 << 20
COLLECT_AFTER = 20_000
"""New objects before the garbage collector looks at them."""
MAX_CONNECTIONS = 1500
FILES = 2 * MAX_CONNECTIONS + 500
"""Open files of a process: connections, the objects they bring, folders and the ledger."""
MAX_UNKNOWN_PER_HOST = 128
"""Connections of one address that have not yet asked for an association: a flood of them must leave room for others."""


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises NodeError when the port is taken."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise NodeError(f"cannot listen for DICOM on {host}:{port}: {error.strerror or error}") from error
    return listener


class Receiver:
    """Serves a listening socket, which other processes may serve, too. `port` is the real one."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        listener: socket.socket | None = None,
        slots: AssociationSlots | None = None,
    ) -> None:
        self._listener = listener or listen(settings.node.dicom_host, settings.node.dicom_port)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._slots = slots or AssociationSlots(settings.intake.maximum_associations)
        admission = AdmissionPolicy(settings, self._slots)
        storage = Storage(settings, ledger)
        self._house = AcceptorContext(settings, ledger, storage, admission, process_name("scp"), self._slots.release)
        self._serving: dict[Acceptor, str] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._wake_reader, self._wake_writer = os.pipe()
        threading.stack_size(STACK_BYTES)
        self._thread = threading.Thread(target=self._accept_all, name="accept", daemon=True)
        self._thread.start()
        log.info("listening on %s:%d as %s", *self._listener.getsockname()[:2], settings.node.ae_title)

    def stop(self) -> None:
        """Take no new associations, let running ones end for a moment, then cut them off.

        What was not acknowledged the sender still has and sends again.
        """
        if self._stopping.is_set():
            return
        self._stopping.set()
        os.write(self._wake_writer, b"x")
        self._thread.join()
        self._listener.close()
        deadline = time.monotonic() + LAST_WORDS_SECONDS
        while any(acceptor.established for acceptor in self._all()) and time.monotonic() < deadline:
            time.sleep(0.02)
        for acceptor in self._all():
            acceptor.abort()
        while self._all() and time.monotonic() < deadline + LAST_WORDS_SECONDS:
            time.sleep(0.02)
        os.close(self._wake_reader)
        os.close(self._wake_writer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def _all(self) -> list[Acceptor]:
        with self._lock:
            return list(self._serving)

    def _accept_all(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._wake_reader, selectors.EVENT_READ)
            while not self._stopping.is_set():
                selector.select()
                if not self._stopping.is_set():
                    self._accept()

    def _accept(self) -> None:
        try:
            connection, address = self._listener.accept()
        except BlockingIOError:  # another process was quicker
            return
        except OSError as error:  # no file descriptors left: those who are here must end first
            log.error("a connection could not be taken: %s", error.strerror or error)
            self._stopping.wait(0.1)
            return
        host = str(address[0])
        if not self._has_room(host):
            connection.close()
            return
        try:
            acceptor = Acceptor(self._house, connection, host)
        except (OSError, MemoryError):  # it is gone already, or there is no room for it
            connection.close()
            return
        with self._lock:
            self._serving[acceptor] = host
        try:
            threading.Thread(target=self._serve, args=(acceptor,), daemon=True).start()
        except RuntimeError as error:  # no memory or process number left for a thread: as above
            log.error("a connection could not be served: %s", error)
            connection.close()
            with self._lock:
                del self._serving[acceptor]
            self._stopping.wait(0.1)

    def _has_room(self, host: str) -> bool:
        with self._lock:
            waiting = Counter(where for acceptor, where in self._serving.items() if not acceptor.established)
            return len(self._serving) < MAX_CONNECTIONS and waiting[host] < MAX_UNKNOWN_PER_HOST

    def _serve(self, acceptor: Acceptor) -> None:
        try:
            acceptor.run()
        finally:
            with self._lock:
                del self._serving[acceptor]


def allow_files(wanted: int = FILES) -> None:
    """Raise the limit of open files, 1024 as a rule, as far as it is ours to raise."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def run(
    settings: Settings, ledger: Ledger, stop: threading.Event, listener: socket.socket | None = None,
    slots: AssociationSlots | None = None,
) -> None:  # fmt: skip
    """Receive until `stop` is set. Raises NodeError when the port is taken."""
    allow_files()
    with Receiver(settings, ledger, listener, slots):
        # What is loaded by now stays: the collector need not go through it again and again, which took an eighth of
        # the time of receiving.
        gc.collect()
        gc.freeze()
        gc.set_threshold(COLLECT_AFTER)
        stop.wait()
