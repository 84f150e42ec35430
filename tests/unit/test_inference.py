"""The window around a hip, and what happens to a bone at its border."""

import numpy as np
import pytest

from segmenter.geometry import Geometry
from segmenter.grids import FINE_MM, OUTSIDE_HU, box_geometry
from segmenter.inference import GROWTH_MM, carried_out, grown_box
from segmenter.resample import reduce, resample

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


def test_nothing_is_carried_far_out_of_the_scan():
    scan = Geometry.axial((20, 20, 20), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    window = box_geometry(np.array([-30.0] * 3), np.array([50.0] * 3), FINE_MM)
    inside = reduce(np.full(scan.shape, 400, np.int16), scan, window, OUTSIDE_HU) > 0
    carried = carried_out(inside.astype(np.float32), window, scan)
    points = window.to_patient(np.argwhere(carried > 0))
    assert points.min() >= -3.1
    assert points.max() <= 22.1
