"""The measurements of a scan as a whole: both sides, what is said beside the numbers, the same every time."""

from dataclasses import replace

import numpy as np
import pytest
from femur_model import Model, grid

from segmenter.density.calibration import UNCALIBRATED, Calibration, CalibrationMode, Material
from segmenter.measure.femurs import UNSURE, measure_femurs
from segmenter.measure.options import STANDARD, TotalRule
from segmenter.measure.records import Measurements
from segmenter.volume.coverage import HEAD_CUT
from segmenter.volume.femur import Confidence, Femur, Level, Side
from segmenter.volume.geometry import Geometry

LINE = Calibration(CalibrationMode.ASYNCHRONOUS, Material.HA, slope_hu_per_mg_cm3=1.3, intercept_hu=0.0)
GRID = grid((2.5, 2.0, 2.0))


@pytest.fixture(scope="module")
def scan() -> tuple[list[Femur], np.ndarray, Geometry]:
    """A left and a right femur side by side in one scan, listed right first."""
    (left, a), (right, b) = Model().on(GRID), Model(Side.RIGHT, length_mm=150.0).on(GRID)
    wide = Geometry((*GRID.shape[:2], 2 * GRID.shape[2]), GRID.affine)
    empty = np.zeros_like(left.mask)
    volume = np.concatenate([b, a], axis=2)
    masks = np.concatenate([empty, left.mask], axis=2), np.concatenate([right.mask, empty], axis=2)
    return [Femur(Side.RIGHT, masks[1], True), Femur(Side.LEFT, masks[0], True)], volume, wide


@pytest.fixture(scope="module")
def measured(scan) -> Measurements:
    return measure_femurs(*scan, LINE)


def test_both_sides_are_measured_left_first_and_compared(measured):
    assert [femur.side for femur in measured.femurs] == ["left", "right"]
    names = ["integral", "cortical", "trabecular", "total", "neck"]
    assert [[region.name for region in femur.regions] for femur in measured.femurs] == [names, names]
    assert [one.region for one in measured.asymmetry] == names
    by_name = {one.region: one for one in measured.asymmetry}
    assert by_name["integral"].volume_percent > 4  # the right one is shorter
    assert abs(by_name["total"].volume_percent) < 1.5
    assert all(femur.warnings == () for femur in measured.femurs)


@pytest.mark.parametrize(
    ("confidence", "warned"),
    [(None, False), (Confidence(Level.HIGH, 2.0), False), (Confidence(Level.MEDIUM, 4.0), False),
     (Confidence(Level.LOW, 5.0), True), (Confidence(Level.LOW), True)],
)  # fmt: skip
def test_an_uncertain_outline_is_told_as_a_warning(scan, confidence, warned):
    femurs, volume, geometry = scan
    (femur,) = measure_femurs([replace(femurs[1], confidence=confidence)], volume, geometry, UNCALIBRATED).femurs
    assert femur.confidence == confidence
    assert (UNSURE in femur.warnings) is warned


def test_an_empty_mask_keeps_what_was_said_of_it(scan):
    femurs, volume, geometry = scan
    nothing = Femur(Side.LEFT, np.zeros_like(femurs[1].mask), False, (), Confidence(Level.LOW))
    (femur,) = measure_femurs([nothing], volume, geometry, UNCALIBRATED).femurs
    assert femur.confidence == Confidence(Level.LOW)


def test_the_result_names_its_settings(measured):
    settings = dict(measured.settings)
    assert settings["total_rule"] == "trochanter"
    assert settings["cortical_threshold_unit"] == "mg/cm3"
    assert settings["neck_length_mm"] == 15.0
    assert all(isinstance(value, (int, float, str)) for value in settings.values())


def test_without_calibration_nothing_has_a_density_and_the_threshold_is_in_hu(scan):
    femurs, volume, geometry = scan
    found = measure_femurs(femurs[1:], volume, geometry, UNCALIBRATED, replace(STANDARD, total_rule=TotalRule.LENGTH))
    (femur,) = found.femurs
    assert all(region.vbmd_mg_cm3 is None for region in femur.regions)
    assert femur.total_rule == "100 mm below the top of the head"
    assert found.asymmetry == ()
    assert dict(found.settings)["cortical_threshold_unit"] == "HU"


def test_the_same_scan_gives_the_same_measurements(scan, measured):
    assert measure_femurs(*scan, LINE) == measured


def test_an_incomplete_femur_is_measured_and_says_what_is_cut(scan):
    femurs, volume, geometry = scan
    cut = replace(femurs[1], complete=False, reasons=(HEAD_CUT,))
    (femur,) = measure_femurs([cut], volume, geometry, LINE).femurs
    assert (femur.complete, femur.incomplete_reasons) == (False, (HEAD_CUT,))
    assert femur.region("total") is None
    assert femur.region("integral") is not None
    assert any(HEAD_CUT in warning for warning in femur.warnings)


def test_a_contrast_agent_of_the_header_is_a_suspicion(scan):
    femurs, volume, geometry = scan
    (femur,) = measure_femurs(femurs[1:], volume, geometry, LINE, header_contrast=True).femurs
    assert femur.contrast_suspected
    assert "the header names an agent" in femur.warnings[-1]


def test_metal_is_said_beside_the_numbers(scan):
    femurs, volume, geometry = scan
    k, j, i = np.argwhere(femurs[1].mask).mean(axis=0).astype(int)
    volume = volume.copy()
    volume[k - 3 : k + 3, j - 2 : j + 2, i - 2 : i + 2] = 3071
    (femur,) = measure_femurs(femurs[1:], volume, geometry, LINE).femurs
    assert femur.metal_suspected
    assert any("metal suspected" in warning for warning in femur.warnings)


def test_a_mask_that_reaches_where_there_is_no_image_is_said(scan):
    femurs, volume, geometry = scan
    volume = volume.copy()
    volume[: geometry.shape[0] // 3] = -1024
    (femur,) = measure_femurs(femurs[1:], volume, geometry, LINE).femurs
    assert any("of the mask contains no image data" in warning for warning in femur.warnings)


def test_nothing_found_is_nothing_measured(scan):
    _, volume, geometry = scan
    assert measure_femurs([], volume, geometry, LINE).femurs == ()
    empty = Femur(Side.LEFT, np.zeros(geometry.shape, bool), complete=False)
    (femur,) = measure_femurs([empty], volume, geometry, LINE).femurs
    assert femur.regions == ()
    assert femur.warnings == ("the mask is empty: there is nothing to measure",)


def test_a_few_voxels_are_measured_without_a_traceback(scan):
    _, volume, geometry = scan
    mask = np.zeros(geometry.shape, bool)
    mask[5, 5, 5:7] = True
    (femur,) = measure_femurs([Femur(Side.LEFT, mask, complete=False)], volume, geometry, LINE).femurs
    assert femur.region("integral").voxels == 2
    assert femur.region("total") is None
    assert femur.neck is None
