"""The rate of making synthetic patients, per core: for the training pool, and as cases of the held-out cohort."""

import resource
import time
from pathlib import Path

from segmenter.synth.series.held_out_cohort import Cohort, write_cohort
from segmenter.training.pool import make_pool

COUNT = 4


def spent() -> float:
    """Return the CPU time of the ended children of this process, s: the processes of pool and cohort."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def report(name: str, cpu: float, wall: float) -> None:
    print(f"{name:28} {cpu / COUNT:5.1f} s of one core each, {60 * COUNT / cpu:4.1f} a minute and core; {wall:.0f} s")


def test_pool(tmp_path: Path):
    before, begin = spent(), time.perf_counter()
    make_pool(tmp_path, COUNT, seed=9)
    cpu = spent() - before
    report("pool", cpu, time.perf_counter() - begin)
    assert cpu / COUNT < 30


def test_cohort(tmp_path: Path):
    before, begin = spent(), time.perf_counter()
    write_cohort(Cohort(seed=9), COUNT, tmp_path)
    cpu = spent() - before
    report("cohort, 512 x 512 pixels", cpu, time.perf_counter() - begin)
    assert cpu / COUNT < 30
