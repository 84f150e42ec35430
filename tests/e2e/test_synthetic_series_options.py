"""Scans with options: the truth is correct for every position of the patient and extent of the scan; a cohort."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from segmenter.evaluation.cases import Scan, load, read_cases
from segmenter.evaluation.images import find_image, laid_on, read_array, read_geometry
from segmenter.read.folder import find_series
from segmenter.read.hounsfield import read_volume
from segmenter.read.series import read_series
from segmenter.synth.patient import Patient
from segmenter.synth.sampling import PatientOptions, sample_patient
from segmenter.synth.series.held_out_cohort import Cohort, write_cohort
from segmenter.synth.series.options import Crop, Kernel, Position, SyntheticSeriesOptions
from segmenter.synth.series.writer import write_scan
from segmenter.volume.coverage import completeness
from segmenter.volume.femur import Side

PLAIN = SyntheticSeriesOptions(seed=3, slices=36, size=96, slice_step_mm=5.0, noise_hu=0.5)
SUPINE = PatientOptions(body=3, metal=False, screws=False, prone=False)


@pytest.fixture(scope="module")
def supine() -> Patient:
    return sample_patient(np.random.default_rng(5), SUPINE)


@pytest.fixture(scope="module")
def prone() -> Patient:
    return sample_patient(np.random.default_rng(5), replace(SUPINE, prone=True))


@pytest.fixture(scope="module")
def replaced() -> Patient:
    return sample_patient(np.random.default_rng(5), replace(SUPINE, metal=Side.LEFT))


def read(patient: Patient, options: SyntheticSeriesOptions, out: Path) -> tuple[Scan, dict]:
    """Write a scan and read it back with the product's reader."""
    write_scan(patient, options, np.random.default_rng(1), out)
    series = read_series(find_series(out / "dicom"))
    paths = {side: find_image(out / "truth", side) for side in Side}
    truth = {
        side: laid_on(read_array(path), read_geometry(path), series.geometry) > 0
        for side, path in paths.items()
        if path
    }
    told = json.loads((out / "truth" / "truth.json").read_text())
    return Scan(read_volume(series), series.geometry, truth), told["femora"]


def along_the_patient(values: np.ndarray, scan: Scan) -> np.ndarray:
    """Return a volume with its axes along the patient's z, y, x."""
    affine = scan.geometry.affine
    signs = np.sign([affine[2, 0], affine[1, 1], affine[0, 2]])
    return values[tuple(slice(None, None, int(sign)) for sign in signs)]


@pytest.mark.parametrize(
    ("lying", "one", "other"), [("supine", Position.HFS, Position.FFS), ("prone", Position.HFP, Position.FFP)]
)
def test_feet_first_is_the_same_patient(lying: str, one: Position, other: Position, tmp_path, request):
    patient = request.getfixturevalue(lying)
    head, _ = read(patient, replace(PLAIN, position=one), tmp_path / "head")
    feet, _ = read(patient, replace(PLAIN, position=other), tmp_path / "feet")
    assert not np.allclose(head.geometry.affine, feet.geometry.affine)
    assert np.sort(feet.geometry.corners(), axis=0) == pytest.approx(np.sort(head.geometry.corners(), axis=0))
    assert np.array_equal(along_the_patient(head.volume, head), along_the_patient(feet.volume, feet))
    for side in Side:
        assert np.array_equal(along_the_patient(head.truth[side], head), along_the_patient(feet.truth[side], feet))


def test_a_prone_patient_is_the_supine_one_on_the_other_side_of_a_table(supine, prone, tmp_path):
    wide = {"field_of_view_mm": 399.0}  # set around the hips, wherever the table is
    back, told = read(supine, replace(PLAIN, **wide), tmp_path / "back")
    belly, told_prone = read(prone, replace(PLAIN, position=Position.HFP, **wide), tmp_path / "belly")
    assert told_prone["left"]["volume_ml"] == told["left"]["volume_ml"]
    inside = along_the_patient(back.truth[Side.LEFT], back)
    assert np.array_equal(inside, along_the_patient(belly.truth[Side.LEFT], belly))
    rods = [
        json.loads((tmp_path / n / "truth/truth.json").read_text())["calibration"]["rods"] for n in ("back", "belly")
    ]
    middle = back.geometry.to_patient(np.argwhere(back.truth[Side.LEFT]).mean(axis=0))[1]
    assert rods[0][0]["y_mm"] > middle + 50
    assert rods[1][0]["y_mm"] < middle - 50


def test_a_prosthesis_has_metal_and_no_truth(replaced, tmp_path):
    scan, told = read(replaced, PLAIN, tmp_path)
    assert list(scan.truth) == [Side.RIGHT]
    assert told["left"] == {"state": "replaced"}
    assert told["right"]["state"] == "whole"
    metal = scan.geometry.to_patient(np.argwhere(scan.volume >= 2000))
    assert len(metal) > 100
    assert metal[:, 0].min() > replaced.femurs[Side.RIGHT].landmarks.head_centre[0] + 60


def test_a_scan_that_begins_too_low_cuts_the_heads_and_nothing_else(supine, tmp_path):
    whole, _ = read(supine, PLAIN, tmp_path / "whole")
    cut, told = read(supine, replace(PLAIN, crop=Crop.HEAD), tmp_path / "cut")
    top = cut.geometry.corners()[:, 2].max() + 2.5
    for side in Side:
        assert cut.truth[side][-1].sum() > 50
        assert told[side]["state"] == "cut"
        assert 0.5 < told[side]["proximal_share"] < 0.99
        heights = whole.geometry.to_patient(np.argwhere(whole.truth[side]))[:, 2]
        low = max(whole.geometry.corners()[:, 2].min(), cut.geometry.corners()[:, 2].min()) + 5
        below = ((heights > low) & (heights < top)).sum() * whole.geometry.voxel_volume_mm3
        kept = cut.geometry.to_patient(np.argwhere(cut.truth[side]))[:, 2]
        assert (kept > low).sum() * cut.geometry.voxel_volume_mm3 == pytest.approx(below, rel=0.06)
        complete, reasons = completeness(cut.truth[side], cut.volume, cut.geometry)
        assert (complete, reasons[0]) == (False, "head cut off by the scan")


def test_a_scan_that_ends_too_early_stops_at_the_lesser_trochanter(supine, tmp_path):
    scan, told = read(supine, replace(PLAIN, crop=Crop.SHAFT), tmp_path)
    assert len(scan.volume) < PLAIN.slices
    for side in Side:
        assert scan.truth[side][0].any()
        assert told[side]["state"] == "cut"
        complete, reasons = completeness(scan.truth[side], scan.volume, scan.geometry)
        assert (complete, reasons) == (False, ("scan ends above or at the lesser trochanter",))


def test_a_scan_of_one_hip_is_round_and_excludes_the_other(supine, tmp_path, tool):
    scan, told = read(supine, replace(PLAIN, hip=Side.RIGHT), tmp_path)
    assert list(scan.truth) == [Side.RIGHT]
    assert (told["left"]["state"], told["right"]["state"]) == ("outside", "whole")
    assert (scan.volume[:, :3, :3] == -1024).all()
    assert scan.geometry.spacing[1] == pytest.approx(200 / 96, abs=1e-5)
    first = min((tmp_path / "dicom").iterdir())
    assert pydicom.dcmread(first).PixelPaddingValue == 0
    checked = subprocess.run([tool("dciodvfy"), first], capture_output=True, text=True, check=False)
    assert "Error" not in checked.stderr + checked.stdout


def test_kernels_differ_at_edges_and_not_in_the_truth(supine, tmp_path):
    scans = {kernel: read(supine, replace(PLAIN, slices=10, kernel=kernel), tmp_path / kernel)[0] for kernel in Kernel}
    edge = {kernel: np.abs(np.diff(scan.volume.astype(float), axis=2)).mean() for kernel, scan in scans.items()}
    assert edge[Kernel.SOFT] < edge[Kernel.STANDARD] < edge[Kernel.SHARP]


def test_a_cohort_is_cases_that_evaluation_reads_and_continues_where_it_was_broken_off(tmp_path):
    cohort, out = Cohort(seed=1, size=64), tmp_path / "cases"
    done = []
    write_cohort(cohort, 1, out, on_case=done.append)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.dcm")}
    (out / f"{cohort.name(1)}.part" / "dicom").mkdir(parents=True)  # interrupted here
    write_cohort(cohort, 2, out, workers=2, on_case=done.append)
    assert done == [0, 1, 1, 2]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    cases = read_cases(out)
    assert [(case.listed.sex, case.listed.group, case.listed.synthetic) for case in cases] == [
        ("F", "group family-00", True), ("M", "group family-00", True),
    ]  # fmt: skip
    assert {case.listed.stratum for case in cases} == {"standard"}
    for number, case in enumerate(cases):
        scan = load(case)
        assert scan.volume.shape == (cohort.options(number).slices, 64, 64)
        assert case.sides == (Side.LEFT, Side.RIGHT)
        assert all(scan.volume[mask].mean() > 100 for mask in scan.truth.values())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--cohort", "2", "--sex", "F"], "--sex cannot be used with --cohort"),
        (["--workers", "2"], "--workers needs --cohort"),
        (["--crop", "knee"], "'knee' is not one of 'head', 'shaft'"),
    ],
)
def test_invalid_options_are_refused(options: list[str], sentence: str, tmp_path):
    command = [sys.executable, "-m", "node", "phantom", "--out", str(tmp_path / "x"), *options]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert sentence in ended.stderr


def test_the_command_follows_its_options(tmp_path):
    options = "--size 64 --slices 5 --step 5 --sex M --bone 0.9 --position FFS --kernel soft --crop head --seed 12"
    command = [sys.executable, "-m", "node", "phantom", "--out", str(tmp_path), *options.split()]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout == f"{tmp_path / 'dicom'}\n"
    header = pydicom.dcmread(tmp_path / "dicom" / "0001.dcm")
    assert (header.PatientSex, header.PatientPosition, header.ConvolutionKernel) == ("M", "FFS", "SOFT")
    assert json.loads((tmp_path / "truth" / "truth.json").read_text())["femora"]["left"]["state"] == "cut"
