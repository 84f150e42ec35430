"""Peak memory and time of `qct-node segment` on the largest scan promised, 512 x 512 x 2000, straight and tilted.

A synthetic patient of 100 slices, 250 mm, is resampled to 625 thin slices; copies of the first and the last of them
make up 2,000 slices, the length of a scan of trunk and legs.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from segmenter.synth.series import SyntheticSeriesOptions, write_synthetic_series

SLICES, STEP_MM = 2000, 0.4
MOST_GB = 6.0
TILT_MM = {"straight": 0.0, "tilted": STEP_MM * np.tan(np.radians(15))}  # shift of each slice against the previous one


@pytest.fixture(scope="module")
def patient(tmp_path_factory) -> list[Dataset]:
    folder = write_synthetic_series(
        SyntheticSeriesOptions(seed=11, size=512, slices=100), tmp_path_factory.mktemp("patient")
    )
    slices = [dcmread(path) for path in folder.iterdir()]
    return sorted(slices, key=lambda ds: float(ds.ImagePositionPatient[2]))


def write_thin(patient: list[Dataset], folder: Path, drift_mm: float) -> None:
    """Write the patient in `SLICES` thin slices, each shifted by `drift_mm` against the one below it."""
    folder.mkdir()
    thick = float(patient[1].ImagePositionPatient[2]) - float(patient[0].ImagePositionPatient[2])
    pixels = [ds.pixel_array for ds in patient]
    x, y, z = (float(value) for value in patient[0].ImagePositionPatient)
    below = (SLICES - round(thick * (len(patient) - 1) / STEP_MM)) // 2
    for k in range(SLICES):
        at = min(max((k - below) * STEP_MM / thick, 0), len(patient) - 1)
        low = min(int(at), len(patient) - 2)
        mixed = pixels[low] * (1 - (at - low)) + pixels[low + 1] * (at - low)
        ds, drift = patient[0], drift_mm * (k - SLICES // 2)
        mixed = np.roll(mixed, -round(drift / float(ds.PixelSpacing[0])), axis=0)
        ds.PixelData = np.rint(mixed).astype(pixels[0].dtype).tobytes()
        ds.ImagePositionPatient = [f"{x:.4f}", f"{y + drift:.4f}", f"{z + (k - below) * STEP_MM:.4f}"]
        ds.SliceThickness, ds.InstanceNumber = f"{STEP_MM}", k + 1
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.3680043.9.5.{k + 1}"
        ds.save_as(folder / f"{k:04d}.dcm", enforce_file_format=True)


def peak_of(command: list[str]) -> tuple[float, float]:
    """Run a command to its end; return the peak of its memory in GB, and the seconds it took."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss / 2**20, time.perf_counter() - begin


@pytest.mark.parametrize("stack", TILT_MM)
def test_two_thousand_slices(patient: list[Dataset], tmp_path: Path, stack: str):
    write_thin(patient, tmp_path / "ct", TILT_MM[stack])
    program = str(Path(sys.executable).with_name("qct-node"))
    gigabytes, seconds = peak_of([program, "segment", str(tmp_path / "ct"), "--out", str(tmp_path / "out"), "--json"])
    print(f"512 x 512 x {SLICES}, {stack}: {gigabytes:.2f} GB, {seconds:.0f} s")
    assert len(json.loads((tmp_path / "out" / "report.json").read_text())["femurs"]) == 2
    assert gigabytes < MOST_GB
