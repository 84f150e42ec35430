"""The SCP of one process: accepts connections and serves each in a thread."""

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
from node.hosts import network_of
from node.ledger import Ledger
from node.records.processes import ProcessKind, process_name
from node.scp.acceptor import Acceptor, AcceptorContext
from node.scp.admission import AdmissionPolicy
from node.scp.association_slots import AssociationSlots
from node.scp.refusals import RefusalLog
from node.scp.services import accepted_syntaxes, service_table
from node.scp.storage import Storage
from node.settings.settings import Settings

log = logging.getLogger(__name__)

BACKLOG = 1024
STOP_SECONDS = 5.0
"""How long a running association may continue when the node stops."""
STACK_BYTES = 1 << 20
COLLECT_AFTER = 20_000
"""New objects before the garbage collector runs."""
MAX_CONNECTIONS = 1500
FILES = 2 * MAX_CONNECTIONS + 500
"""Open files of a process: connections, the objects they send, folders and the ledger."""
MAX_UNESTABLISHED_PER_HOST = 128
"""Connections of one address without an association: a flood of them must not shut out other hosts."""


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
    """Serves a listening socket, which other processes may serve, too. `port`: where it listens."""

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
        refusals = RefusalLog(ledger)
        self._storage = Storage(settings, ledger, refusals)
        services = service_table(self._storage)
        self._context = AcceptorContext(
            intake=settings.intake,
            ledger=ledger,
            admission=AdmissionPolicy(settings, self._slots),
            services=services,
            accepted_syntaxes=accepted_syntaxes(services),
            refusals=refusals,
            receiver=process_name(ProcessKind.SCP),
            release_slot=self._slots.release,
        )
        self._serving: dict[Acceptor, str] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._wake_reader, self._wake_writer = os.pipe()
        threading.stack_size(STACK_BYTES)
        self._thread = threading.Thread(target=self._accept_all, name="accept", daemon=True)
        self._thread.start()
        log.info("listening on %s:%d as %s", *self._listener.getsockname()[:2], settings.node.ae_title)

    def stop(self) -> None:
        """Accept no new associations, give running ones `STOP_SECONDS` to end, then abort them.

        The sender still has what was not acknowledged and sends it again.
        """
        if self._stopping.is_set():
            return
        self._stopping.set()
        os.write(self._wake_writer, b"x")
        self._thread.join()
        self._listener.close()
        deadline = time.monotonic() + STOP_SECONDS
        while any(acceptor.established for acceptor in self._all()) and time.monotonic() < deadline:
            time.sleep(0.02)
        for acceptor in self._all():
            acceptor.abort()
        while self._all() and time.monotonic() < deadline + STOP_SECONDS:
            time.sleep(0.02)
        self._storage.close()
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
        except BlockingIOError:  # another process accepted it
            return
        except OSError as error:  # no file descriptor is free until another connection ends
            log.error("a connection could not be accepted: %s", error.strerror or error)
            self._stopping.wait(0.1)
            return
        host = str(address[0])
        network = network_of(host)
        if not self._may_serve(network):
            connection.close()
            return
        try:
            acceptor = Acceptor(self._context, connection, host)
        except (OSError, MemoryError):  # it is closed already, or there is no memory for it
            connection.close()
            return
        with self._lock:
            self._serving[acceptor] = network
        try:
            threading.Thread(target=self._serve, args=(acceptor,), daemon=True).start()
        except RuntimeError as error:  # no memory or process id for a thread: as above
            log.error("a connection could not be served: %s", error)
            connection.close()
            with self._lock:
                del self._serving[acceptor]
            self._stopping.wait(0.1)

    def _may_serve(self, network: str) -> bool:
        with self._lock:
            waiting = Counter(where for acceptor, where in self._serving.items() if not acceptor.established)
            return len(self._serving) < MAX_CONNECTIONS and waiting[network] < MAX_UNESTABLISHED_PER_HOST

    def _serve(self, acceptor: Acceptor) -> None:
        try:
            acceptor.run()
        finally:
            with self._lock:
                del self._serving[acceptor]


def allow_files(wanted: int = FILES) -> None:
    """Raise the soft limit of open files, usually 1024, as far as the hard limit allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def run(
    settings: Settings, ledger: Ledger, stop: threading.Event, listener: socket.socket | None = None,
    slots: AssociationSlots | None = None,
) -> None:  # fmt: skip
    """Receive until `stop` is set. Raises NodeError when the port is taken."""
    allow_files()
    with Receiver(settings, ledger, listener, slots):
        # Objects that exist by now are permanent. Without this, the garbage collector traversed them again and again,
        # which took an eighth of the time of receiving.
        gc.collect()
        gc.freeze()
        gc.set_threshold(COLLECT_AFTER)
        stop.wait()
