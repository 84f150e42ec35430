"""The response time of each C-STORE: from the last byte of the data set to the C-STORE-RSP.

Slices of 512 x 512 from a sender without Nagle's algorithm, each sent when the one before is acknowledged, over one
association and over eight at a time. QCT_BENCH_REPEATS (3). Results: runs/bench/receive-latency.json.
"""

import multiprocessing
import time
from dataclasses import dataclass
from statistics import quantiles

import pytest
from bench.figures import load, record, synthetic_series
from bench.receive.raw import Association, Template, uid
from bench.receive.servers import FORKING, ORTHANC, OURS, Kind, running
from bench.receive.targets import REPEATS, Target
from pydicom import dcmread

COMPARED = (OURS, FORKING, ORTHANC)
SLICES = {1: 300, 8: 75}
"""Associations at a time: slices over each."""
MOST_MS = 50.0


@dataclass(frozen=True)
class Task:
    """The task of one sending process."""

    port: int
    called: str
    template: Template
    number: int
    slices: int
    begin: float  # monotonic time, s


def send_series(task: Task) -> list[float]:
    """Send one series; return the response time of each object, s."""
    association = Association(task.port, task.called)
    time.sleep(max(0.0, task.begin - time.monotonic()))
    waited = []
    for index in range(task.slices):
        sop_uid = uid(task.number * 10**6 + index)
        content = task.template.filled(uid(task.number), uid(task.number), sop_uid)
        waited.append(association.store(sop_uid, content))
    association.release()
    return waited


def measure(kind: Kind, associations: int, template: Template) -> list[float]:
    """Return all response times of one repetition, s."""
    slices = SLICES[associations]
    with running(kind, nodelay=True) as server, multiprocessing.get_context("fork").Pool(associations) as pool:
        begin = time.monotonic() + 0.5
        numbers = range(1, associations + 1)
        tasks = [Task(server.port, kind.ae_title, template, number, slices, begin) for number in numbers]
        waited = [wait for series in pool.map(send_series, tasks, chunksize=1) for wait in series]
        assert server.stored() == associations * slices, f"{kind.name} stored {server.stored()}"
    return waited


def percentiles(waited: list[float]) -> dict[str, float]:
    """Return p50, p95, p99 and the longest response time, ms."""
    hundredths = quantiles(waited, n=100, method="inclusive")
    return {f"p{p}": hundredths[p - 1] * 1000 for p in (50, 95, 99)} | {"max": max(waited) * 1000}


@pytest.fixture(autouse=True)
def _tools(tool):
    for name in ("echoscu", "storescp", "Orthanc"):
        tool(name)


def test_response_times():
    template = Template.of(dcmread(next((synthetic_series() / "dicom").iterdir())))
    waits: dict[tuple[int, str], list[float]] = {(n, kind.name): [] for n in SLICES for kind in COMPARED}
    for repetition in range(REPEATS):
        first = repetition % len(COMPARED)
        for associations in SLICES:
            for kind in COMPARED[first:] + COMPARED[:first]:
                waits[associations, kind.name] += measure(kind, associations, template)
    figures = {key: percentiles(waited) for key, waited in waits.items()}
    print(f"\nwait for the answer, ms, {REPEATS} repetitions together; load {load()}")
    print(f"{'associations':>12} {'receiver':16} {'p50':>8} {'p95':>8} {'p99':>8} {'max':>8} {'answers':>8}")
    for (associations, name), row in figures.items():
        shown = " ".join(f"{value:8.2f}" for value in row.values())
        print(f"{associations:12} {name:16} {shown} {len(waits[associations, name]):8}")
    targets = [
        Target(f"p99 of our node, {n} at a time", figures[n, OURS.name]["p99"], most=MOST_MS, unit=" ms")
        for n in SLICES
    ]
    print(*targets, sep="\n")
    rows = [{"associations": n, "server": name, **row} for (n, name), row in figures.items()]
    record("receive-latency", {"waits_ms": rows, "targets": [target.row() for target in targets]})
