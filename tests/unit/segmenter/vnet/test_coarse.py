"""Coarse classes to hips: sides, fragments and what is no hip."""

import numpy as np
import pytest
from threshold_models import threshold_models

from segmenter.vnet.coarse import CoarseClass, Hip, find_hips, hips_of
from segmenter.volume.femur import Side
from segmenter.volume.geometry import Geometry

GRID = Geometry.axial((40, 30, 60), (4.0, 4.0, 4.0), (-120.0, -60.0, -80.0))


def scan(*bones: tuple[CoarseClass, slice, slice, slice]) -> np.ndarray:
    classes = np.zeros(GRID.shape, int)
    for label, z, y, x in bones:
        classes[z, y, x] = label
    return classes


def left(z: slice = slice(20, 32), label: CoarseClass = CoarseClass.LEFT_PROXIMAL):
    return label, z, slice(10, 18), slice(42, 52)


def right(z: slice = slice(20, 32), label: CoarseClass = CoarseClass.RIGHT_PROXIMAL):
    return label, z, slice(10, 18), slice(8, 18)


def test_two_hips_left_first_with_their_boxes_in_the_patient():
    hips = hips_of(scan(left(), left(slice(5, 20), CoarseClass.LEFT_SHAFT), right()), GRID)
    assert [hip.side for hip in hips] == [Side.LEFT, Side.RIGHT]
    assert hips[0].low == pytest.approx([48, -20, -60])
    assert hips[0].high == pytest.approx([84, 8, 44])
    assert hips[0].proximal_ml == pytest.approx(12 * 8 * 10 * 0.064)


def test_some_voxels_of_the_other_side_do_not_turn_a_bone_over():
    hips = hips_of(scan(left(), left(slice(29, 32), CoarseClass.RIGHT_PROXIMAL)), GRID)
    assert [hip.side for hip in hips] == [Side.LEFT]


def test_two_bones_of_one_side_are_told_apart_by_their_place():
    hips = hips_of(scan(left(), right(label=CoarseClass.LEFT_PROXIMAL)), GRID)
    assert [hip.side for hip in hips] == [Side.LEFT, Side.RIGHT]
    assert hips[0].low[0] > hips[1].high[0]


def test_a_bone_in_two_pieces_is_still_one_bone_of_one_side():
    head = (CoarseClass.LEFT_PROXIMAL, slice(26, 34), slice(10, 18), slice(36, 42))
    hips = hips_of(scan(left(slice(12, 24)), head), GRID)
    assert [hip.side for hip in hips] == [Side.LEFT]
    assert hips[0].low == pytest.approx([24, -20, -32])
    assert hips[0].high == pytest.approx([84, 8, 52])


def test_pieces_of_one_side_do_not_push_out_the_other_side():
    head = (CoarseClass.LEFT_PROXIMAL, slice(26, 36), slice(8, 20), slice(36, 48))
    hips = hips_of(scan(left(slice(8, 24)), head, right(slice(20, 28))), GRID)
    assert [hip.side for hip in hips] == [Side.LEFT, Side.RIGHT]


@pytest.mark.parametrize(
    "bone",
    [left(label=CoarseClass.LEFT_SHAFT), left(slice(20, 21))],
    ids=["a shaft without a hip", "a speck"],
)
def test_what_has_no_proximal_part_is_no_hip(bone):
    assert hips_of(scan(bone), GRID) == []


@pytest.mark.parametrize(
    ("proximal", "shaft", "counts"), [(25, 90, True), (17, 90, False), (45, 400, True), (12, 3, True), (8, 0, False)]
)
def test_a_sliver_at_the_end_of_a_shaft_is_no_hip(proximal: float, shaft: float, counts: bool):
    nowhere = np.zeros(3)
    assert Hip(Side.LEFT, nowhere, nowhere, proximal, shaft).counts is counts


@pytest.mark.parametrize(("width", "hips"), [(40, [Side.LEFT]), (120, [])])
def test_a_narrow_field_of_view_is_looked_at_again_without_air(
    monkeypatch: pytest.MonkeyPatch, width: int, hips: list[Side]
):
    """A network that sees a hip only where no air is around it."""

    def network(_: object, hu: np.ndarray) -> np.ndarray:
        bone = (hu > 500) & (hu.min() > -500)
        return np.stack([~bone, bone, *[np.zeros_like(bone)] * 3]).astype(np.float32)

    monkeypatch.setattr("segmenter.vnet.coarse.probabilities", network)
    volume = np.full((30, width, width), 40, np.int16)
    volume[5:25, 10:20, 10:20] = 800
    scan_grid = Geometry.axial(volume.shape, (4.0, 2.0, 2.0), (0.0, 0.0, 0.0))
    assert [hip.side for hip in find_hips(volume, scan_grid, threshold_models())] == hips
