"""Whether all processes of the node report and its disk has space: for `/healthz` and the page's header."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from node.files.disk_space import DiskSpaceStatus, Level
from node.records.processes import NEEDED_KINDS, Process, allowed_silence

LEAST_SECONDS = 15.0
"""A process is not stale within this time since its last report, however often it reports."""


@dataclass(frozen=True)
class Health:
    """The health of the node: it is healthy if `stale` is empty.

    stale: one sentence per problem. warnings: one per problem to come.
    """

    stale: tuple[str, ...]
    processes: tuple[tuple[Process, float, bool], ...] = ()
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON of `/healthz`."""
        processes = [
            process.to_dict() | {"age_seconds": round(age, 1), "fresh": fresh} for process, age, fresh in self.processes
        ]
        status = "stale" if self.stale else "ok"
        return {
            "status": status,
            "stale": list(self.stale),
            "warnings": list(self.warnings),
            "processes": processes,
        }


def assess(
    processes: Iterable[Process], now: datetime, heartbeat_seconds: float, disk: DiskSpaceStatus, broker_fault: str = ""
) -> Health:
    """Assess the disk, the broker, and the processes by the age of their last report.

    One process of each needed kind must be alive. broker_fault: what is wrong with the broker, empty if nothing is.
    """
    allowed = allowed_silence(heartbeat_seconds, LEAST_SECONDS)
    rows = []
    for process in processes:
        age = max(0.0, (now - process.last_seen).total_seconds())
        rows.append((process, age, process.is_alive(now, allowed)))
    stale = []
    for kind, name in NEEDED_KINDS.items():
        own = [(age, alive) for process, age, alive in rows if process.kind == kind]
        if not own:
            stale.append(f"{name} has never reported")
        elif not any(alive for _, alive in own):
            stale.append(f"{name} has not reported for {min(own)[0]:.0f} s")
    if broker_fault:
        stale.append(broker_fault)
    if disk.full:
        stale.append(disk.sentence)
    warnings = (disk.sentence,) if disk.level is Level.WARNING else ()
    return Health(tuple(stale), tuple(rows), warnings)
