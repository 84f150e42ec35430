"""Whether the node's parts report in and its disk has room: what `/healthz` and the page's header say."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from node.files.disk_space import DiskSpaceStatus, Level
from node.records.processes import Process

NEEDED = {
    "scp": "the receiver",
    "supervisor": "the supervisor",
    "worker-segment": "the segmenting worker",
    "worker-deliver": "the delivering worker",
}
"""The kinds of process without which no result gets through, and what to call them."""


@dataclass(frozen=True)
class Health:
    """stale: one sentence for each thing that is not as it should be; empty means healthy.

    warnings: what will become so if nobody looks after it.
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


def assess(processes: Iterable[Process], now: datetime, allowed: timedelta, disk: DiskSpaceStatus) -> Health:
    """Judge the disk, and the processes by the age of their last report.

    Of each needed kind of process one report must be younger than `allowed`.
    """
    rows = []
    for process in processes:
        age = max(0.0, (now - process.last_seen).total_seconds())
        rows.append((process, age, age <= allowed.total_seconds()))
    stale = []
    for kind, name in NEEDED.items():
        ages = [age for process, age, _ in rows if process.kind == kind]
        if not ages:
            stale.append(f"{name} has never reported")
        elif min(ages) > allowed.total_seconds():
            stale.append(f"{name} has not reported for {min(ages):.0f} s")
    if disk.full:
        stale.append(disk.sentence)
    warnings = (disk.sentence,) if disk.level is Level.WARNING else ()
    return Health(tuple(stale), tuple(rows), warnings)
