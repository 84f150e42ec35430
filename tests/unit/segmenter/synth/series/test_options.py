"""A synthetic scan: where its voxels lie however the patient lies, and what its headers say."""

from pathlib import Path

import numpy as np
import pytest

from segmenter.synth.series.framing import circle, stored, stored_grid
from segmenter.synth.series.header import SliceWriter
from segmenter.synth.series.options import Kernel, Position, SyntheticSeriesOptions
from segmenter.synth.series.writer import prepare_folder
from segmenter.volume.femur import Side
from segmenter.volume.geometry import Geometry

GRID = Geometry.axial((3, 4, 5), (2.5, 0.8, 0.8), (-100.0, 20.0, -40.0))
# Rows and columns as seen when facing the gantry, the patient's directions (PS3.3 C.7.6.2.1.1).
ORIENTATIONS = {
    Position.HFS: [1, 0, 0, 0, 1, 0],
    Position.HFP: [-1, 0, 0, 0, -1, 0],
    Position.FFS: [-1, 0, 0, 0, 1, 0],
    Position.FFP: [1, 0, 0, 0, -1, 0],
}


@pytest.mark.parametrize("position", Position)
def test_a_stored_voxel_lies_where_it_lay_in_the_patient(position: Position):
    places = GRID.to_patient(np.stack(np.meshgrid(*map(np.arange, GRID.shape), indexing="ij"), axis=-1))
    grid = stored_grid(GRID, position)
    for axis in range(3):
        values = stored(places[..., axis], position)
        index = np.argwhere(np.ones(grid.shape, bool))
        assert grid.to_patient(index)[:, axis] == pytest.approx(values.ravel())
    assert np.linalg.det(grid.affine[:3, [2, 1, 0]]) > 0  # never a mirrored patient


@pytest.mark.parametrize(("position", "orientation"), ORIENTATIONS.items())
def test_the_header_says_how_the_patient_lies(position: Position, orientation: list[int]):
    options = SyntheticSeriesOptions(position=position, kernel=Kernel.SHARP)
    grid = stored_grid(GRID, position)
    dataset = SliceWriter(options, grid, "F").dataset(1, np.zeros(GRID.shape[1:], np.float32), None)
    assert dataset.PatientPosition == str(position)
    assert [float(v) for v in dataset.ImageOrientationPatient] == orientation
    assert [float(v) for v in dataset.ImagePositionPatient] == pytest.approx(grid.to_patient(np.array([1, 0, 0])))
    along_row, along_column = np.reshape(orientation, (2, 3))
    assert grid.affine[:3, 2] == pytest.approx(0.8 * along_row)
    assert grid.affine[:3, 1] == pytest.approx(0.8 * along_column)
    assert grid.affine[:3, 0] == pytest.approx(2.5 * np.cross(along_row, along_column))
    assert dataset.PatientSex == "F"
    assert dataset.ConvolutionKernel == "SHARP"
    assert "PixelPaddingValue" not in dataset


def test_what_no_beam_saw_is_padding():
    square = Geometry.axial((1, 16, 16), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    shown = circle(square)
    dataset = SliceWriter(SyntheticSeriesOptions(hip=Side.LEFT), square, "M").dataset(
        0, np.full((16, 16), 40.0, "f4"), shown
    )
    values = np.frombuffer(dataset.PixelData, "<u2").reshape(16, 16)
    assert dataset.PixelPaddingValue == 0
    assert (values[~shown] == 0).all()
    assert (values[shown] == 1064).all()
    assert shown.sum() == pytest.approx(np.pi * 8**2, rel=0.05)
    assert np.array_equal(shown, shown[::-1, ::-1])


def test_the_field_of_view_is_the_body_or_one_hip_or_what_is_asked():
    assert SyntheticSeriesOptions().field_mm == 420
    assert SyntheticSeriesOptions(hip=Side.LEFT).field_mm == 200
    assert SyntheticSeriesOptions(hip=Side.LEFT, field_of_view_mm=250, size=500).pixel_mm == 0.5


def test_options_reach_the_patient():
    rng = np.random.default_rng(0)
    wanted = SyntheticSeriesOptions(
        sex="F", bone=0.2, metal=Side.LEFT, position=Position.FFP, family=3
    ).patient_options(rng)
    assert (wanted.sex, wanted.bone, wanted.metal, wanted.prone) == ("F", 0.2, Side.LEFT, True)
    assert wanted.shape is not None
    plain = SyntheticSeriesOptions().patient_options(rng)
    assert (plain.sex, plain.shape, plain.metal, plain.screws, plain.prone) == (None, None, False, False, False)


def test_low_dose_brings_streaks_and_a_sharp_kernel_edges():
    clean, starved = SyntheticSeriesOptions(noise_hu=12).protocol(), SyntheticSeriesOptions(noise_hu=40).protocol()
    assert clean.streak == 0 < starved.streak
    soft, sharp = (SyntheticSeriesOptions(kernel=kernel).protocol() for kernel in (Kernel.SOFT, Kernel.SHARP))
    assert soft.blur_mm > sharp.blur_mm
    assert soft.sharpen == 0 < sharp.sharpen


def test_what_an_earlier_series_left_is_replaced_and_other_files_are_not(tmp_path: Path):
    for name in ("dicom/0041.dcm", "truth/left.nii.gz", "truth/truth.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert not list(prepare_folder(tmp_path).iterdir())
    assert not (tmp_path / "truth" / "left.nii.gz").exists()
    (tmp_path / "dicom" / "own.dcm").touch()
    (tmp_path / "truth" / "truth.json").unlink()
    with pytest.raises(ValueError, match="did not write: choose another folder"):
        prepare_folder(tmp_path)
    assert (tmp_path / "dicom" / "own.dcm").exists()
