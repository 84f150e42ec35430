"""Accuracy and time of the shipped networks on synthetic patients not used in training, printed as a table."""

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from segmenter.read.folder import find_series
from segmenter.read.hounsfield import read_volume
from segmenter.read.series import read_series
from segmenter.synth.series import SyntheticSeriesOptions, write_synthetic_series
from segmenter.vnet.fine import segment_femurs
from segmenter.vnet.weights import load_models

CASES = (
    ("2.5 mm slices", {}),
    ("1 mm slices", {"slice_step_mm": 1.0, "slices": 150}),
    ("5 mm slices", {"slice_step_mm": 5.0, "slices": 36}),
    ("low dose (noise 40 HU)", {"noise_hu": 40.0}),
)
SEEDS = range(1000, 1000 + int(os.environ.get("QCT_BENCH_PATIENTS", "3")))


@pytest.mark.parametrize(("name", "scan"), CASES, ids=[name for name, _ in CASES])
def test_dice(name: str, scan: dict[str, float], tmp_path: Path):
    models = load_models()
    for seed in SEEDS:
        folder = tmp_path / str(seed)
        series = read_series(
            find_series(write_synthetic_series(SyntheticSeriesOptions(seed=seed, size=256, **scan), folder))
        )
        volume = read_volume(series)
        begin = time.perf_counter()
        found = {femur.side: femur for femur in segment_femurs(volume, series.geometry, models)}
        seconds = time.perf_counter() - begin
        truth = json.loads((folder / "truth" / "truth.json").read_text())["femora"]
        for side in ("left", "right"):
            expected = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "truth" / f"{side}.nii.gz"))) > 0
            mask = found[side].mask if side in found else np.zeros_like(expected)
            dice = 2 * (mask & expected).sum() / (mask.sum() + expected.sum())
            volume_ml = mask.sum() * series.geometry.voxel_volume_mm3 / 1000
            print(
                f"{name:24} seed {seed} {side:5} Dice {dice:.4f}  "
                f"volume {volume_ml:6.1f} ml (truth {truth[side]['volume_ml']:6.1f})  {seconds:5.1f} s"
            )
