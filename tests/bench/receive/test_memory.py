"""Memory of the node over 100,000 objects: the sum of all its processes after the first 2,000 and at the end.

Small CT slices with UIDs of their own, 200 to a series and an association, four associations at a time.
QCT_BENCH_INSTANCES (100000). Results: runs/bench/receive-memory.json.
"""

import multiprocessing
import os
import time
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing.pool import Pool

import pytest
from bench.figures import load, record, synthetic_series
from bench.receive.processes import memory_mb
from bench.receive.raw import Association, Template, uid
from bench.receive.servers import OURS, Server, running
from bench.receive.targets import Target
from pydicom import Dataset, dcmread

INSTANCES = int(os.environ.get("QCT_BENCH_INSTANCES", "100000"))
WARM_UP = 2000
SENDERS, SERIES, RECONNECT = 4, 200, 200
LOOKS = 10
MOST_MB = 50.0


@dataclass(frozen=True)
class Range:
    """A run of objects for one sender."""

    port: int
    template: Template
    first: int
    end: int


def send_range(work: Range) -> int:
    """Send the objects; a new association after each `RECONNECT`."""
    for begin in range(work.first, work.end, RECONNECT):
        association = Association(work.port, OURS.ae_title)
        for number in range(begin, min(begin + RECONNECT, work.end)):
            sop_uid, series = uid(10**12 + number), number // SERIES
            content = work.template.filled(uid(10**8 + series), uid(10**10 + series), sop_uid)
            association.store(sop_uid, content)
        association.release()
    return work.end - work.first


def send_objects(pool: Pool, server: Server, template: Template, first: int, count: int) -> float:
    """Send objects from number `first` on, by all senders; return objects per second."""
    cuts = [first + count * part // SENDERS for part in range(SENDERS + 1)]
    works = [Range(server.port, template, begin, end) for begin, end in pairwise(cuts)]
    began = time.perf_counter()
    sent = sum(pool.map(send_range, works, chunksize=1))
    return sent / (time.perf_counter() - began)


def small_slice() -> Dataset:
    """Return a CT slice of 64 x 64 with a realistic header."""
    dataset = dcmread(next((synthetic_series() / "dicom").iterdir()))
    dataset.PixelData = dataset.pixel_array[:64, :64].tobytes()
    dataset.Rows = dataset.Columns = 64
    return dataset


@pytest.fixture(autouse=True)
def _tools(tool):
    tool("echoscu")


def test_memory_stays():
    template = Template.of(small_slice())
    looks = []
    with running(OURS, nodelay=False) as server, multiprocessing.get_context("fork").Pool(SENDERS) as pool:
        send_objects(pool, server, template, 0, WARM_UP)
        before = memory_mb(server.pid)
        print(f"\n{'objects':>8} {'objects/s':>10} {'MB':>8}   (load {load()})")
        print(f"{WARM_UP:8} {'':10} {sum(before.values()):8.1f}")
        for look in range(LOOKS):
            begin, end = (WARM_UP + INSTANCES * part // LOOKS for part in (look, look + 1))
            rate = send_objects(pool, server, template, begin, end - begin)
            after = memory_mb(server.pid)
            looks.append({"objects": end, "rate": rate, "mb": sum(after.values())})
            print(f"{end:8} {rate:10.1f} {sum(after.values()):8.1f}", flush=True)
        assert server.stored() == WARM_UP + INSTANCES
    growth = {pid: after.get(pid, 0.0) - before.get(pid, 0.0) for pid in before.keys() | after.keys()}
    for pid, grown in sorted(growth.items()):
        print(f"process {pid}: {before.get(pid, 0.0):.1f} MB, then {after.get(pid, 0.0):.1f} MB, {grown:+.1f} MB")
    target = Target(f"growth of all processes over {INSTANCES} objects", sum(growth.values()), most=MOST_MB, unit=" MB")
    print(target)
    record("receive-memory", {"instances": INSTANCES, "looks": looks, "targets": [target.row()]})
    assert before.keys() == after.keys(), "a process of the node ended on the way"
