"""Metrics on volumes small enough to know the answer by hand, also where voxels are no cubes."""

import math

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from segmenter.evaluation.metrics import score_case, score_femur
from segmenter.evaluation.surface import faces, surface_distances
from segmenter.volume.femur import Femur, Side
from segmenter.volume.geometry import Geometry

FLAT = Geometry.axial((12, 10, 10), (5.0, 0.5, 0.8), (-3.0, 7.0, 100.0))


def box(z: slice, y: slice = slice(2, 8), x: slice = slice(2, 8), grid: Geometry = FLAT) -> np.ndarray:
    mask = np.zeros(grid.shape, bool)
    mask[z, y, x] = True
    return mask


def ball(radius_mm: float, grid: Geometry, centre: tuple[float, float, float]) -> np.ndarray:
    points = grid.to_patient(np.moveaxis(np.indices(grid.shape), 0, -1))
    return np.linalg.norm(points - centre, axis=-1) < radius_mm


def test_overlap_and_volumes_are_counted_by_hand():
    score = score_femur(Side.LEFT, box(slice(2, 6)), box(slice(3, 8)), FLAT)
    layer = 36  # voxels
    assert score.dice == pytest.approx(2 * 3 / (4 + 5))
    assert score.sensitivity == pytest.approx(3 / 5)
    assert score.specificity == pytest.approx(1 - layer / (1200 - 5 * layer))
    assert score.volume_ml == pytest.approx(4 * layer * 5.0 * 0.5 * 0.8 / 1000)
    assert score.truth_ml == pytest.approx(5 * layer * 5.0 * 0.5 * 0.8 / 1000)
    assert not score.missed


def test_equal_masks_are_no_distance_apart():
    assert surface_distances(box(slice(2, 6)), box(slice(2, 6)), FLAT) == (0, 0)


@pytest.mark.parametrize(("axis", "spacing"), [(0, 5.0), (1, 0.5), (2, 0.8)])
def test_a_plate_one_layer_thicker_is_one_spacing_apart_at_its_face(axis: int, spacing: float):
    """The plate spans the grid, so that nearly all its area is its two faces."""
    grid = Geometry.axial((40, 40, 40), (5.0, 0.5, 0.8), (0.0, 0.0, 0.0))
    thin, thick = np.zeros(grid.shape, bool), np.zeros(grid.shape, bool)
    np.moveaxis(thin, axis, 0)[10:12] = True
    np.moveaxis(thick, axis, 0)[10:13] = True
    assd, hd95 = surface_distances(thick, thin, grid)
    assert hd95 == pytest.approx(spacing)
    assert 0 < assd < spacing


def test_the_mean_distance_weighs_each_face_with_its_area():
    """Two single voxels, one upon the other: 1 and 2 layers of 5 mm; every distance is known."""
    one, two = box(slice(4, 5), slice(4, 5), slice(4, 5)), box(slice(4, 6), slice(4, 5), slice(4, 5))
    top, front, flank = 0.5 * 0.8, 5.0 * 0.8, 5.0 * 0.5  # areas across z, y and x, mm2
    to_rim = {front: np.hypot(2.5, 0.25), flank: np.hypot(2.5, 0.4)}  # from the upper sides to the lower top face
    upper = 2 * sum(area * gap for area, gap in to_rim.items())
    from_two = upper + top * 5.0  # its own top lies a layer above the other's
    sides = 2 * (front + flank)
    # Of the lower voxel only the top face has left the surface: the nearest are the flanks around it.
    from_one = top * np.hypot(2.5, 0.25)
    expected = (from_two + from_one) / ((2 * top + 2 * sides) + (2 * top + sides))
    assd, hd95 = surface_distances(one, two, FLAT)
    assert assd == pytest.approx(expected)
    assert surface_distances(two, one, FLAT) == pytest.approx((assd, hd95))


def test_hd95_is_the_distance_that_95_percent_of_the_area_does_not_exceed():
    grid = Geometry.axial((30, 30, 30), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    truth = box(slice(5, 25), slice(5, 25), slice(5, 25), grid)
    stray = truth.copy()
    stray[2, 15, 15] = True  # far less than 5 % of the surface
    assert surface_distances(stray, truth, grid)[1] == 0
    wing = truth.copy()
    wing[2:5, 5:25, 5:25] = True  # a whole face moved by three layers is more
    assert surface_distances(wing, truth, grid)[1] == 3


def test_distances_agree_with_an_independent_program_on_balls():
    """ITK takes the centres of border voxels, here of cubes: the two ways of counting differ by a fraction of one."""
    grid = Geometry.axial((44, 44, 44), (0.5, 0.5, 0.5), (0.0, 0.0, 0.0))
    masks = [ball(8.0, grid, (11.0, 11.0, 11.0)), ball(9.0, grid, (11.0, 11.0, 11.6))]
    borders, maps = [], []
    for mask in masks:
        image = sitk.GetImageFromArray(mask.astype(np.uint8))
        image.SetSpacing(grid.spacing[::-1])
        border = sitk.LabelContour(image)
        borders.append(sitk.GetArrayFromImage(border) > 0)
        away = sitk.SignedMaurerDistanceMap(border, squaredDistance=False, useImageSpacing=True)
        maps.append(np.abs(sitk.GetArrayFromImage(away)))
    there, back = maps[1][borders[0]], maps[0][borders[1]]
    assd, hd95 = surface_distances(*masks, grid)
    assert assd == pytest.approx(np.concatenate([there, back]).mean(), abs=0.1)
    assert hd95 == pytest.approx(max(np.quantile(there, 0.95), np.quantile(back, 0.95)), abs=0.15)


def test_area_is_that_of_the_faces_also_at_the_end_of_the_grid():
    whole = np.ones(FLAT.shape, bool)
    z, y, x = (n * mm for n, mm in zip(FLAT.shape, FLAT.spacing, strict=True))
    centres, areas = faces(whole, FLAT)
    assert areas.sum() == pytest.approx(2 * (z * y + y * x + x * z))
    assert centres.min(axis=0) == pytest.approx(np.array([-3.0 - 0.4, 7.0 - 0.25, 100.0 - 2.5]))


def test_a_missed_femur_is_missed_and_not_near():
    score = score_case([], {Side.LEFT: box(slice(3, 8))}, FLAT).femurs[0]
    assert (score.missed, score.dice, score.sensitivity, score.specificity, score.volume_ml) == (True, 0, 0, 1, 0)
    assert math.isinf(score.assd_mm)
    assert math.isinf(score.hd95_mm)


def test_femurs_on_the_wrong_side_are_counted_and_both_sides_scored():
    left, right = box(slice(1, 5)), box(slice(7, 11))
    found = [Femur(Side.LEFT, right, complete=True), Femur(Side.RIGHT, left, complete=True)]
    score = score_case(found, {Side.LEFT: left, Side.RIGHT: right}, FLAT)
    assert (score.side_errors, score.unjudged) == (2, 0)
    assert [femur.dice for femur in score.femurs] == [0, 0]


def test_a_femur_without_a_truth_is_unjudged_but_not_on_the_truth_of_the_other():
    left, right = box(slice(1, 5)), box(slice(7, 11))
    found = [Femur(Side.LEFT, left, complete=True), Femur(Side.RIGHT, right, complete=True)]
    assert (
        score_case(found, {Side.LEFT: left}, FLAT).side_errors,
        score_case(found, {Side.LEFT: left}, FLAT).unjudged,
    ) == (0, 1)
    mirrored = [Femur(Side.RIGHT, left, complete=True)]
    score = score_case(mirrored, {Side.LEFT: left}, FLAT)
    assert (score.side_errors, score.unjudged, score.femurs[0].missed) == (1, 0, True)
