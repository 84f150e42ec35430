"""The inside of a femur: the cortex and the trabecular groups are where anatomy has them."""

from dataclasses import replace

import numpy as np
import pytest

from segmenter.synth.atlas import load_atlas
from segmenter.synth.femur_bone import (
    BoneAt,
    column,
    cortex_hu,
    cortex_thickness,
    head_share,
    scar,
    trabecular_hu,
)
from segmenter.synth.femur_field import Landmarks
from segmenter.synth.tissues import Tissues

MARKS = Landmarks.of(load_atlas().femur.mean, load_atlas().femur)
HEAD, RADIUS = MARKS.head_centre, MARKS.head_radius


def spot(lateral: float, up: float) -> np.ndarray:
    """A point in the plane of neck and shaft, mm from the head's centre."""
    return HEAD - lateral * MARKS.medial - up * MARKS.down


COMPRESSIVE, WARD, TENSILE, CANAL = spot(32, -30), spot(42, -30), spot(52, -38), spot(45, -150)


@pytest.fixture(scope="module")
def tissues() -> Tissues:
    sampled = Tissues.sample(np.random.default_rng(3), 0.5)
    return replace(sampled, texture=0.0, scar=0.0)


def at(*points: np.ndarray) -> BoneAt:
    """Points deep inside the bone, with no grain."""
    position = np.array(points, np.float32)[None, None]
    depth = ((position - HEAD) @ MARKS.down + RADIUS).astype(np.float32)
    return BoneAt(position, np.full(depth.shape, -15, np.float32), depth, np.zeros(depth.shape, np.float32))


def hu(tissues: Tissues, *points: np.ndarray) -> np.ndarray:
    where = at(*points)
    return trabecular_hu(tissues, where, np.full(where.depth.shape, 2, np.float32), MARKS).ravel()


def test_the_cortex_is_a_thin_shell_at_the_head_and_thick_along_the_shaft(tissues: Tissues):
    up, out = -MARKS.down, -MARKS.medial
    along = at(HEAD + 20 * up, MARKS.shaft + 12 * out, MARKS.shaft + 12 * out - 80 * up)
    head, upper, lower = cortex_thickness(tissues, along.position, along.depth, MARKS).ravel()
    assert head == pytest.approx(tissues.thin_cortex_mm, abs=0.05)
    assert head < upper < lower
    assert lower == pytest.approx(tissues.shaft_cortex_mm, abs=0.2)


def test_the_calcar_is_thicker_than_the_lateral_cortex_at_its_height(tissues: Tissues):
    calcar = MARKS.shaft - 55 * MARKS.down + 14 * MARKS.medial
    both = at(calcar, calcar - 30 * MARKS.medial)
    medial, lateral = cortex_thickness(tissues, both.position, both.depth, MARKS).ravel()
    assert medial > lateral + 0.6 * tissues.calcar_mm


def test_compact_bone_is_denser_along_the_shaft(tissues: Tissues):
    upper, lower = cortex_hu(tissues, np.array([20.0, 160.0], np.float32))
    assert lower == pytest.approx(tissues.cortex)
    assert upper < 0.7 * lower


def test_wards_triangle_is_emptier_than_the_groups_around_it(tissues: Tissues):
    ward, compressive, tensile = hu(tissues, WARD, COMPRESSIVE, TENSILE)
    assert compressive > ward + 80
    assert tensile > ward + 50


def test_the_canal_of_the_shaft_holds_marrow(tissues: Tissues):
    assert hu(tissues, CANAL)[0] == pytest.approx(tissues.marrow, abs=20)


def test_dense_people_have_dense_heads():
    light, dense = (Tissues.sample(np.random.default_rng(4), bone) for bone in (0.0, 1.0))
    assert hu(dense, COMPRESSIVE)[0] > hu(light, COMPRESSIVE)[0] + 150
    assert dense.shaft_cortex_mm > light.shaft_cortex_mm + 3


def test_a_column_widens_and_fades_with_distance():
    start, end = np.zeros(3), np.array([0.0, 0.0, 50.0])
    points = np.array([[0, 0, 25], [8, 0, 5], [8, 0, 45], [40, 0, 25]], np.float32)
    middle, narrow, wide, far = column(points, start, end, 5.0, 12.0)
    assert middle == pytest.approx(1.0)
    assert far < 0.01 < narrow < wide < 1


def test_the_head_ends_at_the_neck():
    share = head_share(at(HEAD, MARKS.neck_base), MARKS).ravel()
    assert share == pytest.approx([1, 0])


def test_the_epiphyseal_scar_is_a_thin_plate_across_the_head(tissues: Tissues):
    scarred = replace(tissues, scar=1.0)
    on, beside = MARKS.head_centre + 0.15 * RADIUS * MARKS.neck, MARKS.head_centre + 0.5 * RADIUS * MARKS.neck
    assert scar(scarred, at(on, beside), MARKS).ravel() == pytest.approx([180, 0], abs=1)
