"""The scan's own air, fat and muscle tell a shifted HU scale, and never doubt a scale that is right."""

import time

import numpy as np
import pytest
from qct_factory import AXIAL, Scene

from segmenter.density.tissue_check import Tissues, contradicts_certificate, doubts_of_phantom, find_tissues
from segmenter.read.image_kind import Beam
from segmenter.volume.geometry import Geometry

FLOOR_HU = -1024


def patient(
    fat: float = -100, muscle: float = 50, noise: float = 12, *, air: bool = True, foam: bool = False
) -> np.ndarray:
    """Return HU `(z, y, x)` of a body; without air the field ends in it, with foam a cushion fills most of the air."""
    _, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in AXIAL.shape), indexing="ij")
    away = np.hypot(x, y * 1.4) * (1 if air else 0.5)
    hu = np.full(AXIAL.shape, -967.0 if foam else -1000.0)
    hu[away < 0.8] = fat
    hu[away < 0.65] = muscle
    hu[np.hypot(x - 0.3, y) < 0.12] = 900
    return hu + np.random.default_rng(4).normal(0, noise, hu.shape)


def scanned(hu: np.ndarray, shift: float = 0.0, floor: float = FLOOR_HU) -> np.ndarray:
    """Return what a reader makes of shifted HU."""
    return np.clip(np.rint(hu + shift), floor, 3071).astype(np.int16)


@pytest.mark.parametrize("noise", [3, 12, 30, 60])
@pytest.mark.parametrize(("fat", "muscle"), [(-120, 35), (-85, 75), (-100, 50), (-114, 20)])
def test_a_right_scale_is_not_doubted(fat: float, muscle: float, noise: float):
    for air in (True, False):
        assert find_tissues(scanned(patient(fat, muscle, noise, air=air)), AXIAL).offset == 0


@pytest.mark.parametrize("shift", [24, 40, -24, 60])
@pytest.mark.parametrize("noise", [3, 12, 40])
def test_a_shift_is_measured_by_the_air(shift: float, noise: float):
    tissues = find_tissues(scanned(patient(noise=noise), shift), AXIAL)
    assert tissues.offset == pytest.approx(shift, abs=8)
    assert f"shifted by about {tissues.offset:+.0f} (air has" in contradicts_certificate(tissues, Beam.POLYCHROMATIC)


def test_where_air_lies_below_the_lowest_value_fat_and_muscle_tell_it():
    tissues = find_tissues(scanned(patient(), -45), AXIAL)
    assert tissues.offset == pytest.approx(-45, abs=4)


def test_without_air_only_a_large_shift_is_certain():
    inside = patient(air=False)
    assert find_tissues(scanned(inside), AXIAL).air is None
    assert find_tissues(scanned(inside, 20), AXIAL).offset == 0
    assert find_tissues(scanned(inside, 40), AXIAL).offset == pytest.approx(40, abs=3)
    dark = Tissues(None, -170.0, 60.0)  # fat at 40 keV
    assert contradicts_certificate(dark, Beam.POLYCHROMATIC)
    assert not contradicts_certificate(dark, Beam.MONOENERGETIC)


def test_foam_in_place_of_air_is_no_shift():
    tissues = find_tissues(scanned(patient(foam=True)), AXIAL)
    assert tissues.air == pytest.approx(-967, abs=3)
    assert tissues.offset == 0


def test_noise_that_was_cut_off_at_air_moves_nothing():
    assert find_tissues(scanned(patient(noise=25), floor=-1000), AXIAL).offset == 0
    assert find_tissues(scanned(patient(noise=25), 24, floor=-976), AXIAL).offset == pytest.approx(24, abs=12)


def test_padding_is_not_air():
    hu = scanned(patient(), 24)
    rows, columns = np.ogrid[:130, :130]
    outside = np.hypot(rows - 64.5, columns - 64.5) > 64
    for padding in (-1024, -1000):  # a value of its own, or stored 0 with an intercept of -1000
        padded = hu.copy()
        padded[:, outside] = padding
        assert find_tissues(padded, AXIAL).offset == pytest.approx(24, abs=3)


@pytest.mark.parametrize("shape", [(5, 4, 4), (2, 130, 130), (40, 2, 60)])
def test_a_volume_without_tissues_says_nothing(shape: tuple[int, int, int]):
    geometry = Geometry.axial(shape, (3.0, 1.7, 1.7), (0.0, 0.0, 0.0))
    for value in (0, -1024):
        assert find_tissues(np.full(shape, value, np.int16), geometry) == Tissues(None, None, None)
    assert Tissues(None, None, None).offset == 0


def test_a_shift_is_in_the_rods_of_a_phantom_as_well():
    shifted = find_tissues(scanned(patient(), 24), AXIAL)
    assert "the densities follow the phantom" in doubts_of_phantom(shifted, 25.0)
    assert doubts_of_phantom(find_tissues(scanned(patient()), AXIAL), 3.0) == ""
    assert doubts_of_phantom(Tissues(None, None, None), 50.0) == ""


def test_a_phantom_that_reads_other_hu_than_the_patient_is_told():
    tissues = find_tissues(scanned(patient()), AXIAL)
    assert "does not fit the patient: by it water has 55 HU, but air has" in doubts_of_phantom(tissues, 55.0)


def test_drawn_scans_with_a_phantom_are_not_doubted():
    for scene in (Scene(), Scene(noise_hu=60), Scene(slope=1.9, intercept=10)):
        assert doubts_of_phantom(find_tissues(scene.draw(AXIAL), AXIAL), scene.intercept) == ""


def test_a_whole_scan_takes_hardly_any_time():
    grid = Geometry.axial((300, 512, 512), (1.0, 0.8, 0.8), (0.0, 0.0, 0.0))
    volume = np.zeros(grid.shape, np.int16)
    volume[:, 100:400, 100:400] = np.random.default_rng(1).normal(50, 12, (300, 300, 300)).astype(np.int16)
    began = time.process_time()
    find_tissues(volume, grid)
    assert time.process_time() - began < 1.0
