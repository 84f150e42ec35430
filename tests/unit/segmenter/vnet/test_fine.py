"""The window around a hip, and what happens to a bone at its border."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from threshold_models import threshold_models

from segmenter.refine.recognise import CUT_PELVIS
from segmenter.vnet.coarse import Hip
from segmenter.vnet.fine import GROWTH_MM, MAX_WINDOWS, UNSEEN, carried_out, grown_box, segment_femurs, segment_hip
from segmenter.vnet.grids import FINE_MARGIN_MM, FINE_MM
from segmenter.vnet.weights import Models
from segmenter.volume.femur import Refusal, Side
from segmenter.volume.geometry import Geometry, box_geometry
from segmenter.volume.resample import OUTSIDE_HU, reduce, resample

BOX = (np.array([0.0, 10.0, 20.0]), np.array([100.0, 110.0, 120.0]))
SCAN = (np.array([-500.0, -500.0, -500.0]), np.array([500.0, 500.0, 500.0]))


def touching(*faces: tuple[int, int]) -> np.ndarray:
    inside = np.zeros((9, 9, 9), bool)
    inside[4, 4, 4] = True
    for axis, face in faces:
        index = [4, 4, 4]
        index[axis] = face
        inside[tuple(index)] = True
    return inside


def test_a_femur_inside_its_window_leaves_it_as_it_is():
    low, high = grown_box(touching(), BOX, SCAN)
    assert (low == BOX[0]).all()
    assert (high == BOX[1]).all()


@pytest.mark.parametrize(("axis", "patient"), [(0, 2), (1, 1), (2, 0)])
def test_the_window_grows_where_the_femur_runs_on(axis: int, patient: int):
    low, high = grown_box(touching((axis, 0)), BOX, SCAN)
    assert low[patient] == BOX[0][patient] - GROWTH_MM
    assert (high == BOX[1]).all()
    low, high = grown_box(touching((axis, -1)), BOX, SCAN)
    assert high[patient] == BOX[1][patient] + GROWTH_MM
    assert (low == BOX[0]).all()


def test_where_the_scan_ends_nothing_grows():
    low, high = grown_box(touching((0, 0), (0, -1), (1, 0)), BOX, BOX)
    assert (low == BOX[0]).all()
    assert (high == BOX[1]).all()


@pytest.mark.parametrize("phase", [0.0, 0.3, 0.6, 0.9, 1.2])
@pytest.mark.parametrize("step", [0.7, 1.0, 2.5])
def test_a_bone_cut_by_the_scan_reaches_its_border_whatever_the_phase_of_the_window(step: float, phase: float):
    scan = Geometry.axial((40, 30, 30), (step, 1.0, 1.0), (0.0, 0.0, 0.0))
    window = box_geometry(
        np.array([-6.0, -6.0, -6.0 + phase]), np.array([35.0, 35.0, 40 * step + 6.0 + phase]), FINE_MM
    )
    bone = reduce(np.full(scan.shape, 400, np.int16), scan, window, OUTSIDE_HU)
    ideal = (bone > 0).astype(np.float32)  # a network that finds all bone, and nothing where there is no image
    mask = resample(carried_out(ideal, window, scan), window, scan, 0.0) > 0.5
    assert mask.all()


def test_what_is_carried_does_not_depend_on_how_the_nearest_sample_is_found():
    """A scan turned by half a degree takes the way for oblique scans; its border passes between the same samples."""
    window = box_geometry(np.array([-6.0] * 3), np.array([30.0] * 3), FINE_MM)
    straight = Geometry.axial((25, 25, 25), (1.0, 1.0, 1.0), (0.4, 0.4, 0.4))
    turned = straight.affine.copy()
    turned[:3, :3] @= Rotation.from_euler("z", 0.5, degrees=True).as_matrix()
    noise = np.random.default_rng(0).uniform(size=window.shape).astype(np.float32)
    expected = carried_out(noise, window, straight)
    assert np.array_equal(carried_out(noise, window, Geometry(straight.shape, turned)), expected)
    assert (expected != noise).any()


def test_nothing_is_carried_far_out_of_the_scan():
    scan = Geometry.axial((20, 20, 20), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    window = box_geometry(np.array([-30.0] * 3), np.array([50.0] * 3), FINE_MM)
    inside = reduce(np.full(scan.shape, 400, np.int16), scan, window, OUTSIDE_HU) > 0
    carried = carried_out(inside.astype(np.float32), window, scan)
    points = window.to_patient(np.argwhere(carried > 0))
    assert points.min() >= -3.1
    assert points.max() <= 22.1


@pytest.fixture
def models() -> Models:
    return threshold_models()


SCAN_GRID = Geometry.axial((80, 30, 30), (5.0, 3.0, 3.0), (0.0, 0.0, 0.0))
HIP = Hip(Side.LEFT, np.array([30.0, 30.0, 190.0]), np.array([55.0, 55.0, 205.0]), 100.0)


def column(length_mm: float) -> np.ndarray:
    """A column of bone in water, upright, around the middle of the scan."""
    volume = np.full(SCAN_GRID.shape, -100, np.int16)
    half = round(length_mm / 10)
    volume[40 - half : 40 + half, 10:19, 10:19] = 500
    volume[max(40 - half, 36) : min(40 + half, 44), 10:19, 10:19] = 1000
    return volume


def test_a_bone_is_followed_beyond_what_the_coarse_network_saw_of_it(models: Models):
    volume = column(200.0)
    outline = segment_hip(volume, SCAN_GRID, HIP, models)
    found = np.zeros(volume.shape, bool)
    found[outline.box] = outline.mask
    assert outline.whole
    assert found.sum() == pytest.approx((volume > 0).sum(), rel=0.06)
    assert found.any(axis=(1, 2)).sum() == pytest.approx(40, abs=2)


def test_a_bone_longer_than_all_windows_is_not_taken_for_whole(models: Models):
    seen_mm = 15 + 2 * FINE_MARGIN_MM + 2 * (MAX_WINDOWS - 1) * GROWTH_MM
    outline = segment_hip(column(360.0), SCAN_GRID, HIP, models)
    assert not outline.whole
    assert outline.mask.any(axis=(1, 2)).sum() * 5 == pytest.approx(seen_mm, abs=10)


def test_what_cannot_be_shown_to_be_a_femur_is_left_out_and_named(models: Models):
    refused: list[Refusal] = []
    assert segment_femurs(column(200.0), SCAN_GRID, models, on_refused=refused.append) == []
    assert [(one.side, one.reason) for one in refused] == [(Side.LEFT, CUT_PELVIS)]


def test_a_femur_not_seen_whole_says_so(models: Models, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("segmenter.vnet.fine.why_not", lambda *_, **__: "")  # a column has no head
    (femur,) = segment_femurs(column(200.0), SCAN_GRID, models)
    assert (femur.side, femur.complete, femur.reasons) == (Side.LEFT, True, ())
    (femur,) = segment_femurs(column(360.0), SCAN_GRID, models)
    assert (femur.side, femur.complete, femur.reasons) == (Side.LEFT, False, (UNSEEN,))


def test_where_nothing_is_seen_there_is_no_mask(models: Models):
    outline = segment_hip(column(0.0), SCAN_GRID, HIP, models)
    assert (outline.whole, outline.mask.size, outline.confidence) == (True, 0, None)
    assert np.zeros(SCAN_GRID.shape)[outline.box].size == 0


def test_the_same_input_gives_the_same_mask(models: Models):
    first, second = (segment_hip(column(150.0), SCAN_GRID, HIP, models).mask for _ in range(2))
    assert np.array_equal(first, second)
