"""What is a proximal femur and what is not, as a table; and that a head is looked for in the outline."""

import numpy as np
import pytest

from segmenter.refine.recognise import CUT_PELVIS, SHAFT_ONLY, SIDE, THIN, Seen, lateral_cut, refusal, why_not
from segmenter.volume.femur import Side
from segmenter.volume.geometry import Geometry

TABLE = {
    "a whole femur": (Seen(True, 120, 90, 240, 15), ""),
    "a head that the scan ends below": (Seen(True, 12, 0, 40, 15), ""),
    "a piece of a head, not recognised": (Seen(False, 12, 0, 20, 15), CUT_PELVIS),
    "a piece of ilium cut by the field of view": (Seen(False, 35, 0, 60, 15), CUT_PELVIS),
    "trochanters and shaft, head cut off": (Seen(False, 57, 58, 130, 15), ""),
    "the same with little shaft": (Seen(False, 29, 22, 67, 15), ""),
    "an arthritic head without a round edge, neck and trochanters": (Seen(False, 81, 0, 142, 23.4), ""),
    "an arthritic head and its neck": (Seen(False, 34, 0, 162, 24.6), ""),
    "an ischium beside a hip": (Seen(False, 14, 0, 102, 17.8), CUT_PELVIS),
    "a lower leg that a field of view cuts": (Seen(False, 18, 0, 68, 17.1), CUT_PELVIS),
    "a knee": (Seen(False, 13, 48, 119, 15), SHAFT_ONLY),
    "a lower leg": (Seen(False, 18, 32, 123, 15), SHAFT_ONLY),
    "a shaft": (Seen(False, 0, 90, 150, 15), SHAFT_ONLY),
    "skull and jaw taken for trochanters and a shaft": (Seen(False, 60, 40, 110, 7), THIN.format(14)),
    "a femur cut where the head of the other one would be": (Seen(False, 57, 58, 130, 15, 30), SIDE),
    "the same with a head": (Seen(True, 57, 58, 130, 15, 30), ""),
    "a femur cut through its neck": (Seen(False, 57, 58, 130, 15, -30), ""),
}
GRID = Geometry.axial((60, 60, 60), (2.0, 2.0, 2.0), (-60.0, -60.0, -60.0))


@pytest.mark.parametrize("case", TABLE)
def test_what_is_a_femur(case: str):
    seen, expected = TABLE[case]
    assert refusal(seen) == expected


@pytest.mark.parametrize(("head", "millilitres"), [(False, 20.0), (False, 1000.0), (True, 5.0), (True, 1000.0)])
def test_a_femur_has_a_size(head: bool, millilitres: float):
    assert f"{millilitres:.0f} mL" in refusal(Seen(head, 60, 60, millilitres, 15))
    assert refusal(Seen(head, 60, 60, 200, 15)) == ""


def bone(radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Return mask and HU of a ball on a rod that leads to the patient's left and down."""
    point = GRID.to_patient(np.stack(np.meshgrid(*map(np.arange, GRID.shape), indexing="ij"), axis=-1))
    way = np.array([0.7, 0.0, -0.71])
    along = (point @ way).clip(0, 200)
    rod = np.linalg.norm(point - along[..., None] * way, axis=-1) < 10
    mask = (np.linalg.norm(point, axis=-1) < radius) | rod
    return mask, np.where(mask, 400, 40).astype(np.int16)


def test_a_head_makes_a_femur_of_what_else_would_be_doubtful():
    mask, volume = bone(22.0)
    assert why_not(mask, volume, GRID, Side.LEFT, (15, 0)) == ""


def test_a_head_on_the_lateral_side_of_its_bone_is_none_of_that_side():
    mask, volume = bone(22.0)
    assert why_not(mask, volume, GRID, Side.RIGHT, (15, 0)) == CUT_PELVIS


def test_a_rod_without_head_or_trochanters_is_none():
    mask, volume = bone(14.0)
    assert why_not(mask, volume, GRID, Side.LEFT, (5, 80)) == SHAFT_ONLY
    assert why_not(mask, volume, GRID, Side.LEFT, (30, 0)) == CUT_PELVIS
    assert why_not(mask, volume, GRID, Side.LEFT, (60, 60)) == ""


@pytest.mark.parametrize("turned", [False, True])
def test_the_side_of_a_lone_bone_cut_on_its_lateral_side_is_not_certain(turned: bool):
    geometry = GRID
    mask = np.zeros(GRID.shape, bool)
    mask[10:50, 20:40, 30:] = True  # its last plane lies to the patient's left, or after the turn to the right
    if turned:
        affine = GRID.affine.copy()
        affine[:3, 2] *= -1
        geometry = Geometry(GRID.shape, affine)
    outer, inner = (Side.RIGHT, Side.LEFT) if turned else (Side.LEFT, Side.RIGHT)
    assert lateral_cut(mask, geometry, outer) == pytest.approx(32.0)  # 40 x 20 voxels of 4 mm2
    assert lateral_cut(mask, geometry, inner) == pytest.approx(-32.0)
    volume = np.where(mask, 400, 40).astype(np.int16)
    assert why_not(mask, volume, geometry, outer, (60, 60)) == SIDE
    assert why_not(mask, volume, geometry, outer, (60, 60), alone=False) == ""
    assert why_not(mask, volume, geometry, inner, (60, 60)) == ""


def test_a_ball_of_metal_is_no_head():
    mask, volume = bone(22.0)
    point = GRID.to_patient(np.stack(np.meshgrid(*map(np.arange, GRID.shape), indexing="ij"), axis=-1))
    far = np.linalg.norm(point, axis=-1)
    screwed, ball = volume.copy(), volume.copy()
    screwed[np.linalg.norm(point[..., :2], axis=-1) < 4] = 3000
    ball[far < 20] = 3000
    assert why_not(mask, np.where(mask, screwed, 40), GRID, Side.LEFT, (15, 0)) == ""
    assert why_not(mask, ball, GRID, Side.LEFT, (15, 0)) == CUT_PELVIS
