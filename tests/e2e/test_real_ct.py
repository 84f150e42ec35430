"""The shipped networks on real CT: hips from a PET/CT scanner, and scans without a hip."""

import os
import subprocess
from datetime import datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813

from segmenter.evaluation.metrics import score_femur
from segmenter.output.report_json import NOTHING_FOUND
from segmenter.pipeline import SegmentRequest, segment, vnet_method
from segmenter.read.folder import find_series
from segmenter.synth.calibration_phantom import CalibrationPhantom
from segmenter.vnet.coarse import find_hips
from segmenter.vnet.fine import segment_femurs
from segmenter.vnet.weights import load_models
from segmenter.volume.femur import Side
from segmenter.volume.geometry import Geometry

REAL = Path(__file__).parents[3] / "shared" / "data" / "ct"
PARTIAL = {
    Side.LEFT: ["STS_001", "STS_026", "STS_029", "STS_050"],
    Side.RIGHT: ["STS_003", "STS_007", "STS_011", "STS_012", "STS_014", "STS_015", "STS_021"],
}


@pytest.fixture(scope="module")
def real() -> Path:
    if not REAL.is_dir():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"the real scans are not at {REAL}")
    return REAL


@pytest.fixture(scope="module")
def method():
    return vnet_method(device="cpu")


def request(folder: Path, out: Path) -> SegmentRequest:
    return SegmentRequest(find_series(folder), out, datetime(2026, 1, 2, 3, 4, 5))


def nifti(path: Path) -> tuple[np.ndarray, Geometry]:
    """Return HU and grid of a NIfTI file."""
    image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = (np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing())[:, ::-1]
    affine[:3, 3] = image.GetOrigin()
    volume = sitk.GetArrayFromImage(image)
    return volume, Geometry(volume.shape, affine)


def mask_of(seg: Path, reference: sitk.Image) -> np.ndarray:
    """Return the SEG's one segment on the grid of the reference, placed by its frames' positions."""
    data = pydicom.dcmread(seg)
    mask = np.zeros(reference.GetSize()[::-1], bool)
    for frame, group in zip(data.pixel_array, data.PerFrameFunctionalGroupsSequence, strict=True):
        position = [float(v) for v in group.PlanePositionSequence[0].ImagePositionPatient]
        mask[reference.TransformPhysicalPointToIndex(position)[2]] = frame
    return mask


def test_one_complete_left_femur_agrees_with_the_hand_made_reference(real, method, tmp_path, tool):
    report = segment(request(real / "STS_020" / "dicom", tmp_path), method=method)
    (femur,) = report.femurs
    assert (femur.side, femur.complete) == ("left", True)
    reference = sitk.ReadImage(str(real / "STS_020" / "femur_mask.nii.gz"))
    expected, geometry = nifti(real / "STS_020" / "femur_mask.nii.gz")
    mask = mask_of(tmp_path / "seg.dcm", reference)
    score = score_femur(Side.LEFT, mask, expected > 0, geometry)
    assert score.dice >= 0.95
    assert score.assd_mm <= 0.8
    checked = subprocess.run([tool("dciodvfy"), tmp_path / "seg.dcm"], capture_output=True, text=True, check=False)
    assert "Error" not in checked.stderr + checked.stdout


def test_a_head_cut_off_by_the_scan_makes_an_incomplete_femur(real, method, tmp_path, tool):
    report = segment(request(real / "STS_048" / "dicom", tmp_path), method=method)
    (femur,) = report.femurs
    assert (femur.side, femur.complete) == ("left", False)
    assert "head cut off by the scan" in femur.incomplete_reasons
    checked = subprocess.run([tool("dciodvfy"), tmp_path / "seg.dcm"], capture_output=True, text=True, check=False)
    assert "Error" not in checked.stderr + checked.stdout


def test_a_second_run_gives_the_same_bytes(real, method, tmp_path):
    for name in ("a", "b"):
        segment(request(real / "STS_048" / "dicom", tmp_path / name), method=method)
    assert (tmp_path / "a" / "seg.dcm").read_bytes() == (tmp_path / "b" / "seg.dcm").read_bytes()


@pytest.mark.parametrize(("side", "names"), PARTIAL.items())
def test_every_partial_hip_is_found_on_its_side_and_marked_incomplete(real, side, names):
    models = load_models(device="cpu")
    for name in names:
        (femur,) = segment_femurs(*nifti(real / name / "ct.nii.gz"), models)
        assert (femur.side, femur.complete) == (side, False), name


@pytest.mark.parametrize("name", ["STS_009", "STS_017"])
def test_a_shaft_or_a_knee_is_not_a_proximal_femur(real, method, tmp_path, name):
    files = [path for path in find_series(real / "negatives" / name) if path.name != "RS.dcm"]
    report = segment(SegmentRequest(files, tmp_path), method=method)
    assert (report.finding, report.femurs) == (NOTHING_FOUND, ())
    assert not (tmp_path / "seg.dcm").exists()
    assert (tmp_path / "sr.dcm").exists()


@pytest.mark.parametrize("name", ["STS_002", "STS_005", "STS_019", "STS_049"])
def test_no_femur_is_found_in_other_parts_of_the_body(real, name):
    assert find_hips(*nifti(real / "negatives" / f"{name}.nii.gz"), load_models(device="cpu")) == []


@pytest.mark.parametrize("prone", [False, True])
def test_no_femur_is_found_on_a_table_with_a_calibration_phantom(prone):
    geometry = Geometry.axial((40, 256, 256), (5.0, 1.8, 1.8), (-230.0, -230.0, 0.0))
    volume = np.full(geometry.shape, -1000, np.float32)
    table = CalibrationPhantom(-20.0 if prone else 20.0, 0.0, 200.0, 0.0, 1.3, 0.0, with_rods=True, prone=prone)
    table.draw(volume, geometry)
    assert volume.max() > 400
    assert find_hips(volume, geometry, load_models(device="cpu")) == []
