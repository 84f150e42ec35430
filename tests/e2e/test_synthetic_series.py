"""The synthetic patient as DICOM: valid, complete, reproducible, with a correct truth; the shipped networks on one."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813

from segmenter.synth.sampling import PatientOptions, sample_patient
from segmenter.synth.series import SyntheticSeriesOptions, write_synthetic_series
from segmenter.vnet.fine import segment_femurs
from segmenter.vnet.weights import load_models
from segmenter.volume.femur import Side
from segmenter.volume.geometry import box_geometry

OPTIONS = SyntheticSeriesOptions(seed=4, slices=24, size=96, slice_step_mm=5.0)


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantom")
    write_synthetic_series(OPTIONS, out)
    return out


def slices(patient: Path) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path) for path in sorted((patient / "dicom").iterdir())]


def test_the_series_is_one_uniform_ct_series(patient: Path):
    read = slices(patient)
    assert len(read) == 24
    assert len({s.SeriesInstanceUID for s in read}) == len({s.FrameOfReferenceUID for s in read}) == 1
    assert len({s.SOPInstanceUID for s in read}) == 24
    heights = sorted(float(s.ImagePositionPatient[2]) for s in read)
    assert np.diff(heights) == pytest.approx(np.full(23, 5.0))
    assert {s.Modality for s in read} == {"CT"}
    assert {str(s.RescaleType) for s in read} == {"HU"}
    assert {s.PatientSex for s in read} < {"F", "M"}


def test_every_slice_is_a_valid_ct_image(patient: Path, tool):
    for path in list((patient / "dicom").iterdir())[:3]:
        checked = subprocess.run([tool("dciodvfy"), path], capture_output=True, text=True, check=False)
        assert "Error" not in checked.stderr + checked.stdout


def test_masks_lie_on_the_grid_of_the_series_over_bone(patient: Path):
    read = slices(patient)
    hu = np.stack([s.pixel_array * float(s.RescaleSlope) + float(s.RescaleIntercept) for s in read])
    for side in ("left", "right"):
        mask = sitk.ReadImage(str(patient / "truth" / f"{side}.nii.gz"))
        inside = sitk.GetArrayFromImage(mask) > 0
        assert inside.shape == hu.shape
        assert mask.GetOrigin() == pytest.approx([float(v) for v in read[0].ImagePositionPatient])
        assert mask.GetSpacing()[0] == pytest.approx(float(read[0].PixelSpacing[1]))
        assert hu[inside].mean() > hu[hu > -300].mean() + 60


def test_the_truth_states_volume_density_and_rods_that_are_in_the_image(patient: Path):
    truth = json.loads((patient / "truth" / "truth.json").read_text())
    read = slices(patient)
    line = truth["calibration"]
    first = read[len(read) // 2]
    hu = first.pixel_array + float(first.RescaleIntercept)
    for rod in line["rods"]:
        column = round((rod["x_mm"] - float(first.ImagePositionPatient[0])) / float(first.PixelSpacing[1]))
        row = round((rod["y_mm"] - float(first.ImagePositionPatient[1])) / float(first.PixelSpacing[0]))
        assert hu[row, column] == pytest.approx(rod["hu"], abs=60)
        assert rod["hu"] == pytest.approx(
            line["slope_hu_per_mg_cm3"] * rod["density_mg_cm3"] + line["intercept_hu"], abs=1e-3
        )
    for femur in truth["femora"].values():
        assert femur["bmc_g"] == pytest.approx(femur["integral_vbmd_mg_cm3"] * femur["volume_ml"] / 1000, rel=1e-3)


def test_the_same_options_give_the_same_bytes_and_another_seed_another_patient(patient: Path, tmp_path: Path):
    small = SyntheticSeriesOptions(seed=4, slices=3, size=64, slice_step_mm=5.0)
    for name, options in (("a", small), ("b", small), ("c", SyntheticSeriesOptions(seed=5, slices=3, size=64))):
        write_synthetic_series(options, tmp_path / name)
    first, again, other = ((tmp_path / n / "dicom" / "0002.dcm").read_bytes() for n in "abc")
    assert first == again
    assert first != other


def test_both_femurs_of_a_small_patient_are_found_on_their_sides():
    patient = sample_patient(np.random.default_rng(11), PatientOptions(body=3, metal=False, screws=False))
    geometry = box_geometry(patient.low, patient.high, 3.0)
    rendering = patient.render(geometry)
    femurs = segment_femurs(rendering.hu, geometry, load_models(device="cpu"))
    assert [femur.side for femur in femurs] == [Side.LEFT, Side.RIGHT]
    for femur in femurs:
        truth = rendering.distance[femur.side] < 0
        assert 2 * (femur.mask & truth).sum() / (femur.mask.sum() + truth.sum()) > 0.9
    assert not (femurs[0].mask & femurs[1].mask).any()
