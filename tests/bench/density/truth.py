"""The accuracy of a calibrated density: synthetic QCT patients of known density, calibrated by their phantom.

    PYTHONPATH=tests nice -n 15 .venv/bin/python -m bench.density.truth --out runs/density    # continues a partial run

The number of a case determines its patient, phantom model, drift of the HU scale, noise, kernel, slices and patient
position. The integral vBMD of each femur is measured with the true mask, which shows the effect of calibration and
scanner, and with the mask of the networks. OUT/cases.jsonl holds the figures, OUT/truth.md the tables,
OUT/bland-altman.png the picture. For investigational use.
"""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np
from bench.density.report import write_report
from bench.density.rows import Row, read_rows
from numpy.typing import NDArray

from segmenter.density.calibrate import calibrate
from segmenter.density.calibration import Calibration
from segmenter.density.settings import read_density_settings
from segmenter.evaluation.images import read_array
from segmenter.read.folder import find_series
from segmenter.read.hounsfield import read_volume
from segmenter.read.series import Series, read_series
from segmenter.synth.calibration_phantom_models import MODELS
from segmenter.synth.series import SyntheticSeriesOptions, write_synthetic_series
from segmenter.synth.series.options import Kernel, Position
from segmenter.volume.femur import Side

# Cases: the test itself, and what else changes a density: beam hardening, other kernels, pixels of 0.9 mm.
GROUPS = {"plain": 36, "beam hardening": 8, "soft kernel": 3, "sharp kernel": 3, "fine pixels": 2}
COUNT = sum(GROUPS.values())
FIRST_SEED = 7000
FIELD_MM = 460.0  # wide enough for the phantom under every patient
LENGTH_MM = 150.0  # from 30 mm above the heads to below the lesser trochanters

Masks = dict[Side, NDArray[np.bool_]]
Find = Callable[[NDArray[Any], Series], Masks]


def group(number: int) -> tuple[str, int, int]:
    """Return the group of a case, its number within the group, and the size of the group."""
    for name, size in GROUPS.items():
        if number < size:
            return name, number, size
        number -= size
    raise ValueError(f"there are {COUNT} cases")


def options(number: int) -> SyntheticSeriesOptions:
    """Return patient and scan of a case; slices and noise spread evenly by their logarithm, drift evenly."""
    name, within, size = group(number)
    order = np.random.default_rng([FIRST_SEED, size])
    step, noise, drift = ((order.permutation(size)[within] + 0.5) / size for _ in range(3))
    thickness = round(0.6 * (3.0 / 0.6) ** step, 2)
    prone = number % 7 == 6
    return SyntheticSeriesOptions(
        seed=FIRST_SEED + number,
        slices=round(LENGTH_MM / thickness),
        size=512 if name == "fine pixels" else 256,
        field_of_view_mm=FIELD_MM,
        slice_step_mm=thickness,
        noise_hu=round(5.0 * (60.0 / 5.0) ** noise, 1),
        kernel={"soft kernel": Kernel.SOFT, "sharp kernel": Kernel.SHARP}.get(name, Kernel.STANDARD),
        position=list(Position)[(1 if prone else 0) + 2 * (number // 2 % 2)],
        sex="FM"[number % 2],
        calibration=list(MODELS)[number % len(MODELS)],
        drift_percent=round(10.0 * drift - 5.0, 2),
        beam_hardening=name == "beam hardening",
    )


def measure(number: int, wanted: SyntheticSeriesOptions, folder: Path, find: Find) -> list[Row]:
    """Write a case into the folder and return its femurs, measured; `find` returns masks by the network."""
    shutil.rmtree(folder, ignore_errors=True)  # left by an interrupted run
    series = read_series(find_series(write_synthetic_series(wanted, folder)))
    volume = read_volume(series)
    content = json.loads((folder / "truth" / "truth.json").read_text())
    truth: Masks = {
        side: read_array(folder / "truth" / f"{side}.nii.gz") > 0
        for side in Side
        if content["femora"][str(side)]["state"] in ("whole", "cut")
    }
    own = find(volume, series)
    settings = read_density_settings(folder / "calibration.toml")
    by_truth = calibrate(volume, series, truth.values(), settings)
    by_own = calibrate(volume, series, own.values(), settings) if own else by_truth
    line = content["calibration"]
    rows = []
    for side, mask in truth.items():
        found = own.get(side)
        drawn = by_truth.slope_hu_per_mg_cm3
        undrifted = 1 + wanted.drift
        hu = float(volume[mask].mean())
        slope, intercept = line["slope_hu_per_mg_cm3"], line["intercept_hu"]
        rows.append(
            Row(
                case=number, group=group(number)[0], side=str(side), model=wanted.calibration,
                drift_percent=wanted.drift_percent, noise_hu=wanted.noise_hu, step_mm=wanted.slice_step_mm,
                kernel=str(wanted.kernel), position=str(wanted.position),
                known=content["femora"][str(side)]["integral_vbmd_mg_cm3"],
                as_scanned=(hu - intercept) / slope, true_mask=_density(by_truth, volume, mask),
                own_mask=None if found is None else _density(by_own, volume, found),
                certificate=(hu - intercept / undrifted) / (slope / undrifted),
                slope_percent=None if drawn is None else 100 * (drawn / slope - 1),
                intercept_hu=None if by_truth.intercept_hu is None else by_truth.intercept_hu - intercept,
                r2=by_truth.r2, voxels=int(mask.sum()), own_voxels=0 if found is None else int(found.sum()),
                dice=None if found is None else 2 * int((mask & found).sum()) / int(mask.sum() + found.sum()),
                warnings=by_truth.warnings,
            )
        )  # fmt: skip
    return rows


def _density(calibration: Calibration, volume: NDArray[Any], mask: NDArray[np.bool_]) -> float | None:
    """Return the integral vBMD: the mean calibrated density over a mask's voxels."""
    return float(calibration.density(volume[mask]).mean()) if calibration.usable else None


@click.command()
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("runs/density"))
@click.option("--count", default=COUNT, show_default=True, help="Cases.")
@click.option("--only-report", is_flag=True, help="Draw tables and picture from what is there.")
def main(out: Path, count: int, only_report: bool) -> None:
    """Measure the cases that are not in OUT yet and write the report."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "cases.jsonl"
    done = {row.case for row in read_rows(path)}
    find = None if only_report else _network()
    for number in [] if find is None else sorted(set(range(count)) - done):
        begin = time.perf_counter()
        rows = measure(number, options(number), out / "case", find)
        shutil.rmtree(out / "case")
        with path.open("a") as stream:
            stream.write(json.dumps([asdict(row) for row in rows]) + "\n")
        print(f"case {number} of {count}: {time.perf_counter() - begin:.0f} s", flush=True)
    write_report(read_rows(path), out)


def _network() -> Find:
    from segmenter.vnet.fine import segment_femurs
    from segmenter.vnet.weights import load_models

    models = load_models(device="cpu")
    return lambda volume, series: {f.side: f.mask for f in segment_femurs(volume, series.geometry, models)}


if __name__ == "__main__":
    main()
