"""Rate of receiving: our node, DCMTK's storescp and Orthanc in one run, with DCMTK's storescu as the sender.

`make bench`, or `pytest -o addopts=--import-mode=importlib --timeout=0 -s tests/bench/receive/test_rates.py`. Each
receiver begins each repetition with an empty store on the disk of the work tree; the order changes from repetition to
repetition. The rate counts from the start of the first sender to the end of the last, without any correction.
Our node makes each object durable before it acknowledges it; the others do not.

QCT_BENCH_REPEATS (3). Results: runs/bench/receive-rates.json.
"""

import os
import time
from dataclasses import asdict, dataclass
from statistics import median

import pytest
from bench.figures import load, record
from bench.receive.processes import cpu_seconds
from bench.receive.senders import Sent, send, series_files
from bench.receive.servers import FOLDER, FORKING, KINDS, ORTHANC, OURS, STORESCP, Kind, running
from bench.receive.targets import REPEATS, Target


@dataclass(frozen=True)
class Cell:
    """One way of sending, the same for all receivers."""

    nodelay: bool
    associations: int
    slices: int  # per association

    def __str__(self) -> str:
        """Return its name in the tables."""
        tcp = "TCP_NODELAY" if self.nodelay else "default TCP"
        return f"{tcp}, {self.associations} x {self.slices} slices"


# Fewer slices where Nagle's algorithm delays the others by 40 ms at every slice.
CELLS = (Cell(False, 1, 100), Cell(False, 8, 40), Cell(True, 1, 300), Cell(True, 8, 75))


@dataclass(frozen=True)
class Run:
    """One repetition of one way of sending to one receiver."""

    cell: Cell
    server: str
    sent: Sent
    stored: int
    cpu_seconds: float

    @property
    def rate(self) -> float:
        """Slices per second; 0 if a slice was lost."""
        return self.sent.slices / self.sent.seconds if self.stored == self.sent.slices and not self.sent.failed else 0.0

    @property
    def cpu_per_1000(self) -> float:
        """Processor seconds of the receiver per 1000 slices."""
        return self.cpu_seconds / self.sent.slices * 1000


def measure(cell: Cell, kind: Kind) -> Run:
    """Send one way to a receiver that has just been started."""
    series = series_files(cell.associations, cell.slices)
    with running(kind, cell.nodelay) as server:
        before = cpu_seconds(server.pid)
        sent = send(server, series, cell.nodelay)
        used = cpu_seconds(server.pid) - before
        return Run(cell, kind.name, sent, server.stored(), used)


def ratio(runs: list[Run], cell: Cell, other: Kind) -> float:
    """Return the ratio of our rate to that of another receiver: the median of the ratios of each repetition."""
    ours, theirs = ([run.rate for run in runs if (run.cell, run.server) == (cell, k.name)] for k in (OURS, other))
    return median(our / their if their else float("inf") for our, their in zip(ours, theirs, strict=True))


def table(runs: list[Run]) -> list[str]:
    """Return the lines of the printed table."""
    lines = [f"{'':32} {'receiver':16} {'slices/s':>9} {'(from':>8} {'to)':>7} {'CPU s/1000':>11} {'ours/it':>8}"]
    for cell in CELLS:
        for kind in KINDS:
            those = [run for run in runs if (run.cell, run.server) == (cell, kind.name)]
            rates = [run.rate for run in those]
            cpu = median(run.cpu_per_1000 for run in those)
            lines.append(
                f"{cell!s:32} {kind.name:16} {median(rates):9.1f} {min(rates):8.1f} {max(rates):7.1f} {cpu:11.2f} "
                f"{ratio(runs, cell, kind):8.2f}"
            )
    return lines


def targets(runs: list[Run]) -> list[Target]:
    """Return the targets: faster than both with default senders; without Nagle's algorithm close to DCMTK or faster."""
    found = []
    for cell in CELLS:
        others = (STORESCP, FORKING) if cell.nodelay else (STORESCP, FORKING, ORTHANC)
        least = 0.5 if cell.nodelay and cell.associations == 1 else 1.0
        found += [Target(f"ours / {k.name}, {cell}", ratio(runs, cell, k), least=least) for k in others]
    return found


def sync_ms() -> float:
    """Return the time to write one slice durably, ms: the lower limit for the response time of a durable receiver."""
    content, seconds = bytes(525_616), []
    for number in range(20):
        with (FOLDER / f"sync-{number}").open("wb") as file:
            begin = time.perf_counter()
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            seconds.append(time.perf_counter() - begin)
        (FOLDER / f"sync-{number}").unlink()
    return median(seconds) * 1000


@pytest.fixture(autouse=True)
def _tools(tool):
    for name in ("storescu", "echoscu", "storescp", "Orthanc"):
        tool(name)


def test_rates_of_receivers():
    files = [file for cell in CELLS for series in series_files(cell.associations, cell.slices) for file in series]
    for file in files:
        file.read_bytes()  # from now on the files are in the page cache
    runs: list[Run] = []
    for repetition in range(REPEATS):
        first = repetition % len(KINDS)
        order = KINDS[first:] + KINDS[:first]
        runs += [measure(cell, kind) for cell in CELLS for kind in order]
    sync = sync_ms()
    print(f"\n{REPEATS} repetitions, medians; one slice written and synced: {sync:.1f} ms; load {load()}")
    print(*table(runs), *targets(runs), sep="\n")
    rows = [asdict(run) | {"rate": run.rate, "cpu_per_1000": run.cpu_per_1000} for run in runs]
    record("receive-rates", {"sync_ms": sync, "runs": rows, "targets": [target.row() for target in targets(runs)]})
    faults = [f"{run.server}, {run.cell}: {run.stored} of {run.sent.slices}" for run in runs if not run.rate]
    assert not faults, f"not everything was stored: {faults}"
