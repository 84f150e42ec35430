"""`qct-node serve`: several receiver processes on one port, restarted when they die.

The parent holds the listening socket and never accepts on it, so a connection made while a receiver is down waits
instead of being refused; `up` hands it down, so that the same holds while `serve` is down. The parent also owns the
table of association slots: the limits are for the node, not for a process.
"""

import os
import socket
import sys
import threading
from pathlib import Path

from node.files.reconcile import reconcile
from node.ledger import Ledger
from node.logs import stderr_stream
from node.run.processes import DataLock, Part, ProcessGroup
from node.scp.association_slots import AssociationSlots
from node.scp.listener import listen
from node.settings.settings import Settings

MAX_PROCESSES = 4  # more of them would only wait for the disk and the ledger
WATCH_SECONDS = 0.1
STOP_SECONDS = 20.0
SINGLE_THREADED = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""pydicom imports numpy, whose idle threads would use processor time."""
COMMAND = (sys.executable, "-P", "-m", "node", "receive")


def run_receivers(
    config: str | None, settings: Settings, ledger: Ledger, stop: threading.Event, handed: socket.socket | None = None
) -> None:
    """Receive until `stop` is set, on the listening socket that was handed down, or on one of our own.

    Raises NodeError when the port or the data folder is in use.
    """
    environment = os.environ | SINGLE_THREADED | ({"QCT_NODE_CONFIG": str(Path(config).absolute())} if config else {})
    slots = AssociationSlots(settings.intake.maximum_associations)
    with (
        DataLock(settings.data, "inbox.lock"),
        handed or listen(settings.node.dicom_host, settings.node.dicom_port) as listener,
    ):
        reconcile(ledger, settings.data)  # before any receiver writes
        ledger.associations.end_lost([])  # those of a former life: no receiver runs
        inherited = (listener.fileno(), slots.descriptor)
        command = (*COMMAND, "--listener", str(inherited[0]), "--slots", str(inherited[1]))
        parts = [Part(f"receive-{n}", command, inherited) for n in range(process_count(settings))]
        group = ProcessGroup(parts, environment, _Output(), on_end=slots.release_process)
        try:
            while not stop.wait(WATCH_SECONDS):
                group.watch()
        finally:
            group.stop(STOP_SECONDS)
    slots.close()


def process_count(settings: Settings) -> int:
    """Return the number of receiver processes."""
    return settings.intake.receivers or min(os.cpu_count() or 1, MAX_PROCESSES)


class _Output:
    """Passes the lines of the receivers on to stderr, without waiting for whoever reads it."""

    def __init__(self) -> None:
        self._stream = stderr_stream()

    def __call__(self, _part: str, line: str) -> None:
        self._stream.write(f"{line}\n")
