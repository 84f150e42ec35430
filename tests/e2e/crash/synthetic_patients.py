"""Studies of synthetic patients for the run with the real network."""

import random
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from e2e.crash.studies import Study, study_of_files
from e2e.crash.study_plan import REAL_SCENARIOS, StudyPlan, StudyPlanner, Timing, make_plans
from pydicom import dcmread

from segmenter.synth.series.options import SyntheticSeriesOptions
from segmenter.synth.series.writer import write_synthetic_series

SIZES = (128, 160, 192, 256)
SLICES = (54, 66)
STEP_MM = 4.0


def real_studies(count: int, seed: int, timing: Timing, folder: Path) -> list[Study]:
    """Write `count` patients below `folder` and plan how their scans are sent."""
    plans = make_plans(count, seed, timing, REAL_SCENARIOS)
    with ProcessPoolExecutor(2) as pool:
        return list(pool.map(partial(_write_patient, seed=seed, timing=timing, folder=folder), plans))


def _write_patient(plan: StudyPlan, seed: int, timing: Timing, folder: Path) -> Study:
    rng = random.Random(f"patient {seed} {plan.number}")
    length, size = rng.randint(*SLICES), rng.choice(SIZES)
    options = SyntheticSeriesOptions(seed=1000 * seed + plan.number, slices=length, size=size, slice_step_mm=STEP_MM)
    files = write_synthetic_series(options, folder / f"{plan.number:03d}").iterdir()
    stack = sorted(files, key=lambda path: float(dcmread(path, stop_before_pixels=True).ImagePositionPatient[2]))
    return study_of_files(StudyPlanner(plan.number, plan.scenario, f"{seed} {plan.number}", timing).plan(length), stack)
