"""The configured distal end: square to the shaft, so many millimetres below the head, in any posture."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from segmenter.measure.distal import long_axis, shaft_direction, shorten
from segmenter.volume.femur import Femur, Side
from segmenter.volume.geometry import Geometry

GRID = Geometry.axial((130, 110, 40), (2.0, 2.0, 2.0), (-40.0, -110.0, -200.0))


def femur(degrees: float = 0.0, length: float = 200.0) -> Femur:
    """Return a ball of 44 mm with a bar of 24 mm below it, bent forward about the ball's middle."""
    points = GRID.to_patient(np.stack(np.meshgrid(*map(np.arange, GRID.shape), indexing="ij"), -1))
    straight = Rotation.from_euler("x", degrees, degrees=True).apply(points.reshape(-1, 3)).reshape(points.shape)
    ball = np.linalg.norm(straight, axis=-1) < 22
    away = np.linalg.norm(straight[..., :2] - [14, 0], axis=-1)
    return Femur(Side.LEFT, ball | ((away < 12) & (straight[..., 2] < 0) & (straight[..., 2] > 22 - length)), True)


@pytest.mark.parametrize("degrees", [0.0, 25.0])
def test_the_cut_is_square_to_the_shaft_and_so_far_below_the_head(degrees: float):
    whole = femur(degrees)
    cut, warning = shorten(whole, GRID, 150.0)
    assert warning is None
    points = GRID.to_patient(np.argwhere(cut.mask))
    down = Rotation.from_euler("x", -degrees, degrees=True).apply([0, 0, -1.0])
    assert shaft_direction(GRID.to_patient(np.argwhere(whole.mask))) == pytest.approx(down, abs=0.03)
    assert np.ptp(points @ down) == pytest.approx(150, abs=4)
    assert not (cut.mask & ~whole.mask).any()
    end = points[points @ down > (points @ down).max() - 4]
    assert np.ptp(end[:, 0]) == pytest.approx(24, abs=4)  # the whole section of the shaft, not a slanted tip


def test_a_scan_that_ends_before_the_cut_is_said_and_left():
    whole = femur(length=150)
    cut, warning = shorten(whole, GRID, 180.0)
    assert cut is whole
    assert warning is not None
    assert "left femur: the scan holds 14" in warning
    assert "180 mm" in warning


@pytest.mark.parametrize("slice_number", [0, 129])
def test_a_stray_voxel_of_a_hand_made_outline_moves_nothing(slice_number: int):
    whole = femur(length=180)
    expected, _ = shorten(whole, GRID, 150.0)
    stray = whole.mask.copy()
    stray[slice_number, 5, 5] = True
    cut, _ = shorten(Femur(Side.LEFT, stray, True), GRID, 150.0)
    assert (cut.mask & whole.mask == expected.mask).all()


def test_the_long_axis_points_to_the_feet():
    rng = np.random.default_rng(0)
    points = rng.normal(0, [5, 5, 50], (500, 3))
    assert long_axis(points)[2] < -0.99
    assert long_axis(-points)[2] < -0.99
