"""`qct-node serve`: several receiver processes on one port, started again when they die.

The parent holds the listening socket and never serves it, so a connection that comes while a receiver is down waits
instead of being refused; and it hands out the table of places, because limits count for the node, not for a process.
"""

import os
import sys
import threading
from pathlib import Path

from node.files.reconcile import reconcile
from node.ledger import Ledger
from node.run.processes import DataLock, Part, ProcessGroup
from node.scp.association_slots import AssociationSlots
from node.scp.listener import listen
from node.settings.settings import Settings

MOST = 4  # more share the disk and the ledger, not the work
LOOK_SECONDS = 0.1
STOP_SECONDS = 20.0
NO_POOLS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""pydicom loads numpy, whose threads would wait for work that never comes, spinning."""
COMMAND = (sys.executable, "-P", "-m", "node", "receive")


def run_receivers(config: str | None, settings: Settings, ledger: Ledger, stop: threading.Event) -> None:
    """Receive until `stop` is set, all processes by one settings file. Raises NodeError when port or data are taken."""
    environment = os.environ | NO_POOLS | ({"QCT_NODE_CONFIG": str(Path(config).absolute())} if config else {})
    slots = AssociationSlots(settings.intake.maximum_associations)
    with (
        DataLock(settings.data, "inbox.lock"),
        listen(settings.node.dicom_host, settings.node.dicom_port) as listener,
    ):
        # Before anybody writes: what a crash left is brought in order.
        reconcile(ledger, settings.data)
        inherited = (listener.fileno(), slots.descriptor)
        command = (*COMMAND, "--listener", str(inherited[0]), "--slots", str(inherited[1]))
        parts = [Part(f"receive-{n}", command, inherited) for n in range(how_many(settings))]
        group = ProcessGroup(parts, environment, _pass_on, on_end=slots.release_process)
        try:
            while not stop.wait(LOOK_SECONDS):
                group.watch()
        finally:
            group.stop(STOP_SECONDS)
    slots.close()


def how_many(settings: Settings) -> int:
    """Return how many receiver processes there shall be."""
    return settings.intake.receivers or min(os.cpu_count() or 1, MOST)


def _pass_on(_part: str, line: str) -> None:
    sys.stderr.write(f"{line}\n")
