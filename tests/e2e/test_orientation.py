"""Scans labelled the wrong way round are held; rolled patients and real scans are not."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from segmenter.errors import Reason, SegmenterError, Verdict
from segmenter.read.folder import find_series
from segmenter.read.hounsfield import read_volume
from segmenter.read.series import read_series
from segmenter.vnet.fine import segment_femurs
from segmenter.vnet.orientation import DEGREES, View, about_long_axis, require_orientation, turned
from segmenter.vnet.weights import load_models
from segmenter.volume.geometry import Geometry
from segmenter.volume.resample import OUTSIDE_HU

REAL = Path(__file__).parents[3] / "shared" / "data" / "ct"
PATIENTS = {
    "both hips": ("--seed", "21", "--slices", "60", "--step", "3.5"),
    "one hip": ("--seed", "31", "--slices", "70", "--hip", "left", "--fov", "154"),
}
UPENDED = np.diag([-1.0, 1.0, -1.0])  # feet first labelled head first


@pytest.fixture(scope="module")
def models():
    return load_models(device="cpu")


@pytest.fixture(scope="module", params=PATIENTS.values(), ids=PATIENTS)
def patient(request, tmp_path_factory):
    """HU and grid of a synthetic patient, and the true masks by side."""
    out = tmp_path_factory.mktemp("patient")
    command = [sys.executable, "-m", "node", "phantom", "--out", str(out), "--size", "128", *request.param]
    subprocess.run(command, check=True, capture_output=True)
    series = read_series(find_series(out / "dicom"))
    return read_volume(series), series.geometry, out / "truth"


def labelled(geometry, upended, degrees):
    """Return the grid that a wrong Patient Position gives to the same pixels."""
    turn = about_long_axis(geometry, degrees)
    affine = turn.affine.copy()
    if upended:
        affine[:3] = UPENDED @ affine[:3]
    return Geometry(geometry.shape, affine)


def test_a_scan_labelled_rightly_is_not_held(patient, models):
    volume, geometry, _ = patient
    assert require_orientation(volume, geometry, models) is geometry


@pytest.mark.parametrize("degrees", DEGREES)
@pytest.mark.parametrize("upended", [False, True])
def test_a_scan_labelled_wrongly_is_held(patient, models, upended, degrees):
    if not upended and not degrees:
        pytest.skip("this is the right label")
    volume, geometry, _ = patient
    with pytest.raises(SegmenterError, match="the anatomy contradicts the header") as refusal:
        require_orientation(volume, labelled(geometry, upended, degrees), models)
    assert (refusal.value.reason, refusal.value.verdict) == (Reason.ORIENTATION, Verdict.HELD)
    assert ("upended" in str(refusal.value)) == upended


@pytest.mark.parametrize("patient", [PATIENTS["both hips"]], ids=["both hips"], indirect=True)
@pytest.mark.parametrize("degrees", [45, -45])
def test_a_patient_rolled_by_45_degrees_has_its_sides(patient, models, degrees):
    volume, geometry, truth = patient
    rolled = labelled(geometry, False, degrees)
    straight = require_orientation(volume, rolled, models)
    assert straight is not rolled
    femurs = segment_femurs(volume, straight, models)
    assert {str(femur.side) for femur in femurs} == {path.name.split(".")[0] for path in truth.glob("*.nii.gz")}
    for femur in femurs:
        true = sitk.GetArrayFromImage(sitk.ReadImage(str(truth / f"{femur.side}.nii.gz"))) > 0
        assert 2 * (true & femur.mask).sum() / (true.sum() + femur.mask.sum()) > 0.95


@pytest.mark.parametrize("view", [View(False, 45), View(False, -45), View(True, 90), View(False, 270)])
def test_turning_keeps_what_is_in_the_picture(view):
    image = np.full((4, 30, 30), OUTSIDE_HU, np.float32)
    image[:, 12:18, 10:20] = 500
    assert (turned(image, view) - OUTSIDE_HU).sum() == pytest.approx((image - OUTSIDE_HU).sum(), rel=0.02)


def scans():
    return sorted(path.relative_to(REAL).as_posix() for path in REAL.rglob("*.nii.gz") if "mask" not in path.name) + [
        path.relative_to(REAL).as_posix() for path in sorted(REAL.rglob("*")) if any(path.glob("*.dcm"))
    ]


@pytest.mark.parametrize("name", scans())
def test_no_real_scan_is_held(name, models):
    path = REAL / name
    if path.is_dir():
        series = read_series([file for file in find_series(path) if file.name != "RS.dcm"])
        volume, geometry = read_volume(series), series.geometry
    else:
        image = sitk.ReadImage(str(path))
        affine = np.eye(4)
        affine[:3, :3] = (np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing())[:, ::-1]
        affine[:3, 3] = image.GetOrigin()
        volume = sitk.GetArrayFromImage(image)
        geometry = Geometry(volume.shape, affine)
    assert require_orientation(volume, geometry, models) is geometry


def test_the_real_scans_are_there():
    if not REAL.is_dir():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"the real scans are not at {REAL}")
    assert len(scans()) > 20
