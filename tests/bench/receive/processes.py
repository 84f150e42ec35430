"""Processor time and memory of a process with all its children, from /proc."""

import contextlib
import os
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PARENT, USER, CHILDREN_SYSTEM = 1, 11, 14  # indices of the fields of /proc/PID/stat after the name: proc(5)


def process_tree(pid: int) -> dict[int, list[str]]:
    """Return the process and all its descendants, each with the fields of its `stat` after the name."""
    stats: dict[int, list[str]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                stats[int(entry.name)] = (entry / "stat").read_text().rpartition(")")[2].split()
    found = {pid} & stats.keys()
    while more := {p for p, stat in stats.items() if int(stat[PARENT]) in found} - found:
        found |= more
    return {p: stats[p] for p in found}


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process and all its children, including those that have ended, s."""
    fields = slice(USER, CHILDREN_SYSTEM + 1)  # user and system time of the process and of its reaped children
    return sum(int(ticks) for stat in process_tree(pid).values() for ticks in stat[fields]) / TICKS


def memory_mb(pid: int) -> dict[int, float]:
    """Return the resident memory of a process and of each of its children, MB."""
    found = {}
    for member in process_tree(pid):
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{member}/status").read_text().splitlines()
            found[member] = sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) * 1024 / 1e6
    return found


def settle(pid: int, seconds: float = 15.0) -> None:
    """Wait until a server is idle after its start: it answers before all its processes have started."""
    end = time.monotonic() + seconds
    used, before = cpu_seconds(pid), -1.0
    while used - before > 1 / TICKS and time.monotonic() < end:
        time.sleep(0.3)
        before, used = used, cpu_seconds(pid)
