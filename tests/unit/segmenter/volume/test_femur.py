"""Cleaning a mask and judging whether the scan holds the whole bone."""

import numpy as np
import pytest

from segmenter.volume.coverage import completeness
from segmenter.volume.geometry import Geometry
from segmenter.volume.masks import clean

GRID = Geometry.axial((60, 40, 40), (3.0, 1.0, 1.0), (0.0, 0.0, 0.0))


def bone(z: slice = slice(0, 50), y: slice = slice(10, 30), x: slice = slice(10, 30)) -> np.ndarray:
    mask = np.zeros(GRID.shape, bool)
    mask[z, y, x] = True
    return mask


def test_specks_and_holes_go_and_the_bone_stays():
    whole = bone()
    dirty = whole.copy()
    dirty[55, 35, 35] = True
    dirty[20:30, 18:22, 18:22] = False
    assert (clean(dirty) == whole).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_marrow_cavity_open_at_the_end_of_the_scan_is_filled(axis: int):
    whole = np.moveaxis(bone(), 0, axis)
    tube = whole.copy()
    np.moveaxis(tube, axis, 0)[0:30, 18:22, 18:22] = False
    assert (clean(tube) == whole).all()


def volume() -> np.ndarray:
    return np.full(GRID.shape, 40, np.int16)


def test_a_bone_that_leaves_the_scan_along_its_shaft_is_complete():
    assert completeness(bone(), volume(), GRID) == (True, ())


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (bone(z=slice(0, 60)), "head cut off by the scan"),
        (bone(x=slice(10, 40)), "cut by the field of view"),
        (bone(x=slice(10, 39)), "cut by the field of view"),
        (bone(y=slice(0, 30)), "cut by the field of view"),
        (bone(z=slice(30, 50)), "scan ends above or at the lesser trochanter"),
        (bone(z=slice(0, 34)), "scan ends above or at the lesser trochanter"),
    ],
)
def test_a_cut_bone_is_incomplete_and_says_why(mask: np.ndarray, reason: str):
    assert completeness(mask, volume(), GRID) == (False, (reason,))


def test_a_small_bone_that_the_scan_does_not_end_is_complete():
    assert completeness(bone(z=slice(5, 39)), volume(), GRID) == (True, ())


def test_a_single_voxel_is_no_traceback():
    assert completeness(bone(slice(30, 31), slice(5, 6), slice(5, 6)), volume(), GRID)[0] is False


def test_a_bone_beside_what_is_no_image_is_cut_by_the_field_of_view():
    outside = volume()
    outside[:, :, 31:] = -1024
    assert completeness(bone(), outside, GRID) == (False, ("cut by the field of view",))


def test_a_flexed_leg_is_as_long_as_a_straight_one():
    mask = np.zeros(GRID.shape, bool)
    for k in range(2, 30):
        mask[k, 3 + k : 8 + k, 10:30] = True  # 84 mm high, 28 mm forwards, 20 mm wide
    assert "lesser trochanter" in str(completeness(mask, volume(), GRID)[1])
    steep = Geometry.axial(GRID.shape, (3.0, 3.0, 1.0), (0.0, 0.0, 0.0))
    assert completeness(mask, volume(), steep) == (True, ())


def test_up_is_the_patients_head_whatever_the_order_of_slices():
    affine = GRID.affine.copy()
    affine[2, 0], affine[2, 3] = -3.0, 59 * 3.0
    descending = Geometry(GRID.shape, affine)
    assert completeness(bone()[::-1], volume(), descending) == (True, ())
    assert completeness(bone(z=slice(0, 60)), volume(), descending)[1] == ("head cut off by the scan",)
