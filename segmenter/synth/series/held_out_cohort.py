"""The held-out cohort: synthetic patients of shape families excluded from training, as a folder of cases.

One folder per case as `segmenter.evaluation.cases` reads it, and `cases.csv` with the columns case, sex, group (the
shape family), stratum and synthetic. A case depends only on its number and the cohort's seed.
"""

import csv
import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from segmenter.synth.cohort import HELD_OUT_FAMILIES
from segmenter.synth.series.options import Crop, Kernel, Position, SyntheticSeriesOptions
from segmenter.synth.series.writer import write_synthetic_series
from segmenter.volume.femur import Side

LENGTH_MM = 180.0
FIELD_MM = 410.0
STEPS_MM = (1.0, 1.25, 2.0, 2.5)
POSITION_SHARES = (0.7, 0.1, 0.1, 0.1)  # of HFS, HFP, FFS, FFP


class Stratum(StrEnum):
    """What distinguishes a case from the standard one."""

    STANDARD = "standard"
    THICK = "thick slices"
    LOW_DOSE = "low dose"
    OSTEOPOROTIC = "osteoporotic"
    HEAD_CUT = "head cut"
    SHAFT_CUT = "shaft cut"
    ONE_SIDE = "one side"
    METAL = "metal other side"


@dataclass(frozen=True)
class Cohort:
    """The settings that determine the cases; size: rows and columns."""

    seed: int = 1
    size: int = 512

    def name(self, number: int) -> str:
        """Return the folder's name of a case."""
        return f"case-{self.seed}-{number + 1:04d}"

    def stratum(self, number: int) -> Stratum:
        """Return the stratum of a case; after every round of families the strata move on by one."""
        families, strata = HELD_OUT_FAMILIES, list(Stratum)
        return strata[(number // 2 + number // (2 * families)) % len(strata)]

    def options(self, number: int) -> SyntheticSeriesOptions:
        """Return patient and scan of a case: women and men in turn, each family as both."""
        rng = np.random.default_rng([self.seed, number])
        step = float(rng.choice(STEPS_MM))
        plain = SyntheticSeriesOptions(
            seed=int(rng.integers(2**31)),
            slices=round(LENGTH_MM / step),
            size=self.size,
            field_of_view_mm=FIELD_MM,
            slice_step_mm=step,
            noise_hu=round(rng.uniform(6, 20), 1),
            kernel=list(Kernel)[rng.integers(len(Kernel))],
            position=list(Position)[rng.choice(len(Position), p=POSITION_SHARES)],
            sex="FM"[number % 2],
            family=number // 2 % HELD_OUT_FAMILIES,
        )
        return replace(plain, **special(self.stratum(number), rng))


def special(stratum: Stratum, rng: np.random.Generator) -> dict[str, Any]:
    """Return the options that make a stratum."""
    side = Side.LEFT if rng.random() < 0.5 else Side.RIGHT
    thick = round(rng.uniform(3.0, 5.0), 1)
    options: dict[Stratum, dict[str, Any]] = {
        Stratum.STANDARD: {},
        Stratum.THICK: {"slice_step_mm": thick, "slices": round(LENGTH_MM / thick)},
        Stratum.LOW_DOSE: {"noise_hu": round(rng.uniform(30, 45), 1)},
        Stratum.OSTEOPOROTIC: {"bone": round(rng.uniform(0, 0.12), 3)},
        Stratum.HEAD_CUT: {"crop": Crop.HEAD},
        Stratum.SHAFT_CUT: {"crop": Crop.SHAFT},
        Stratum.ONE_SIDE: {"hip": side, "field_of_view_mm": None},
        Stratum.METAL: {"metal": side},
    }
    return options[stratum]


def write_cohort(
    cohort: Cohort, count: int, out: Path, workers: int = 1, on_case: Callable[[int], None] = lambda _: None
) -> Path:
    """Write the first `count` cases below `out`, several at a time; what is already there is kept. Returns `out`.

    Raises ValueError when the folder holds a cohort of another seed or size, or more cases than asked for.
    """
    record_cohort(cohort, count, out)
    missing = [number for number in range(count) if not (out / cohort.name(number)).exists()]
    on_case(count - len(missing))
    with ProcessPoolExecutor(workers) as executor:
        for done, _ in enumerate(executor.map(partial(write_case, cohort, out), missing), 1):
            on_case(count - len(missing) + done)
    with (out / "cases.csv").open("w", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(["case", "sex", "group", "stratum", "synthetic"])
        for number in range(count):
            options = cohort.options(number)
            group = f"family-{options.family:02d}"
            table.writerow([cohort.name(number), options.sex, group, cohort.stratum(number), "yes"])
    return out


def record_cohort(cohort: Cohort, count: int, out: Path) -> None:
    """Record the cohort in the folder; raises ValueError when the folder holds another one."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "cohort.json"
    if path.exists() and (found := json.loads(path.read_text())) != asdict(cohort):
        raise ValueError(f"{out} holds the cohort {found}, not {asdict(cohort)}: choose another folder")
    if more := sorted({p.name for p in out.glob("case-*") if not p.suffix} - {cohort.name(n) for n in range(count)}):
        raise ValueError(f"{out} already holds {more[0]}, which is beyond the {count} cases asked for")
    path.write_text(json.dumps(asdict(cohort)) + "\n")


def write_case(cohort: Cohort, out: Path, number: int) -> None:
    """Write one case; its folder gets its name when it is complete."""
    path = out / cohort.name(number)
    temporary = path.with_name(path.name + ".part")
    write_synthetic_series(cohort.options(number), temporary)
    temporary.rename(path)
