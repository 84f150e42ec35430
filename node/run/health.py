"""Whether all processes of the node report and its disk has space: for `/healthz` and the page's header."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from node.files.disk_space import DiskSpaceStatus, Level
from node.records.processes import NEEDED_KINDS, Process, allowed_silence
from node.records.results import Backlog

OVERDUE_SECONDS = 120.0
"""After so long, a result that its peer has not taken is a warning, and one that nobody sends is a fault."""
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
    processes: Iterable[Process],
    now: datetime,
    heartbeat_seconds: float,
    disk: DiskSpaceStatus,
    broker_fault: str = "",
    backlogs: Iterable[Backlog] = (),
) -> Health:
    """Assess the disk, the broker, the processes by the age of their last report, and what is due to peers by its age.

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
    warnings = [disk.sentence] if disk.level is Level.WARNING else []
    overdue = [backlog for backlog in backlogs if backlog.age > OVERDUE_SECONDS]
    stale += [_unsent(backlog) for backlog in overdue if backlog.untouched > OVERDUE_SECONDS]
    warnings += [_untaken(backlog) for backlog in overdue if backlog.untouched <= OVERDUE_SECONDS]
    return Health(tuple(stale), tuple(rows), tuple(warnings))


def _unsent(backlog: Backlog) -> str:
    """Say that nobody sends to a peer, which is a fault of the node."""
    return f"results for {backlog.peer} have been due for {backlog.untouched:.0f} s and nobody sends them"


def _untaken(backlog: Backlog) -> str:
    """Say that a peer does not take its results."""
    number = f"{backlog.results} result{'s' * (backlog.results != 1)}"
    why = f": {backlog.reason}" if backlog.reason else ""
    return f"{backlog.peer} has not taken {number}, the oldest due for {backlog.age / 60:.0f} min{why}"
