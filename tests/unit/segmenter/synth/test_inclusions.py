"""What lies in and beside the bones: capsules of the right size, metal where a surgeon puts it."""

import itertools

import numpy as np
import pytest

from segmenter.synth.femur_field import FemurField, Landmarks
from segmenter.synth.inclusions import (
    METAL_HU,
    Capsule,
    Place,
    draw_all,
    lesions,
    prosthesis,
    resected,
    roughened,
    screws,
    vessels,
)
from segmenter.synth.tissues import Tissues
from segmenter.volume.geometry import Geometry

GRID = Geometry.axial((40, 44, 48), (1.5, 1.2, 1.2), (-20.0, -30.0, -25.0))
NECK = np.array([0.77, 0.0, -0.64]) / np.linalg.norm([0.77, 0.0, -0.64])
MARKS = Landmarks(
    head_centre=np.zeros(3),
    head_radius=24.0,
    neck_base=54 * NECK,
    shaft=np.array([52.0, 0.0, -98.0]),
    neck=NECK,
    down=np.array([0.0, 0.0, -1.0]),
    medial=np.array([-1.0, 0.0, 0.0]),
)


def ball(**options) -> Capsule:
    return Capsule(Place.SOFT, 100.0, np.zeros(3), np.zeros(3), 8.0, **options)


@pytest.mark.parametrize("length", [0.0, 14.0])
def test_a_capsule_has_the_volume_of_a_cylinder_with_round_ends(length: float):
    hu = np.zeros(GRID.shape, np.float32)
    along = length * np.array([0.6, 0.0, 0.8])
    Capsule(Place.SOFT, 100.0, -along / 2, along / 2, 8.0).draw(hu, GRID, ramp=1.3)
    volume = np.pi * 8.0**2 * length + 4 / 3 * np.pi * 8.0**3
    assert hu.sum() / 100 * GRID.voxel_volume_mm3 == pytest.approx(volume, rel=0.02)
    assert hu.max() == 100


def test_a_capsule_may_taper():
    cone = Capsule(Place.METAL, 1.0, np.zeros(3), np.array([0, 0, 20.0]), 6.0, 2.0)
    assert cone.distance(np.array([[0, 0, 0], [0, 0, 20.0], [6, 0, 0], [2, 0, 20.0]])) == pytest.approx([-6, -2, 0, 0])


def test_a_capsule_beyond_the_grid_draws_nothing_and_one_across_its_border_its_part():
    hu = np.zeros(GRID.shape, np.float32)
    Capsule(Place.SOFT, 100.0, np.full(3, 500.0), np.full(3, 520.0), 8.0).draw(hu, GRID, ramp=1.3)
    assert not hu.any()
    corner = GRID.to_patient(np.zeros(3))
    Capsule(Place.SOFT, 100.0, corner, corner, 8.0).draw(hu, GRID, ramp=1.3)
    assert hu[0, 0, 0] == 100
    assert 0 < (hu > 50).sum() * GRID.voxel_volume_mm3 < 4 / 3 * np.pi * 8.0**3 / 4


def test_only_the_asked_place_is_drawn_and_only_where_allowed():
    hu = np.zeros(GRID.shape, np.float32)
    allowed = np.zeros(GRID.shape, np.float32)
    allowed[:20] = 1
    draw_all([ball(), Capsule(Place.METAL, 9.0, np.zeros(3), np.zeros(3), 20.0)], Place.SOFT, hu, GRID, 1.3, allowed)
    assert set(np.unique(hu[20:])) == {0.0}
    assert hu[:20].max() == 100
    assert (hu != 9).all()


def femur() -> FemurField:
    """A head, a neck and a shaft as capsules."""
    grid = Geometry.axial((70, 20, 50), (3.0, 3.0, 3.0), (-30.0, -30.0, -170.0))
    points = grid.to_patient(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1))
    parts = [
        Capsule(Place.BONE, 0, MARKS.head_centre, MARKS.head_centre, 24.0),
        Capsule(Place.BONE, 0, MARKS.head_centre, MARKS.neck_base, 15.0),
        Capsule(Place.BONE, 0, MARKS.neck_base, MARKS.shaft + 60 * MARKS.down, 16.0),
    ]
    distance = np.minimum.reduce([part.distance(points) for part in parts]).astype(np.float32)
    return FemurField(grid, distance, (24 - points[..., 2]).astype(np.float32), MARKS)


def test_a_resected_femur_keeps_its_shaft_and_no_head():
    before, after = femur(), resected(femur())
    points = before.geometry.to_patient(np.argwhere(after.distance < 0))
    assert ((points - MARKS.head_centre) @ MARKS.neck > 40).all()
    deep = before.geometry.to_patient(np.argwhere(before.distance < 0))[:, 2] < -80
    assert (points[:, 2] < -80).sum() == deep.sum() > 500


def test_a_prosthesis_fills_the_socket_and_reaches_into_the_shaft():
    parts = prosthesis(np.random.default_rng(0), MARKS)
    assert {part.place for part in parts} == {Place.METAL}
    metal = [part for part in parts if part.hu == METAL_HU]
    inside = lambda point: min(part.distance(point) for part in metal) < 0  # noqa: E731
    assert inside(MARKS.head_centre)
    assert inside(MARKS.shaft + 20 * MARKS.down)
    assert not inside(MARKS.shaft + 120 * MARKS.down)


@pytest.mark.parametrize("seed", range(6))
def test_screws_run_from_the_lateral_side_into_the_head(seed: int):
    parts = screws(np.random.default_rng(seed), MARKS)
    assert min(part.distance(MARKS.head_centre) for part in parts) < 7
    lateral = max((p - MARKS.head_centre) @ MARKS.neck for part in parts for p in (part.start, part.end))
    assert lateral > 54 + 25


def test_vessels_run_in_front_of_the_hip():
    tissues = Tissues.sample(np.random.default_rng(1))
    found = vessels(np.random.default_rng(2), tissues, MARKS)
    nearest = min(part.distance(MARKS.head_centre + np.array([0, -32.0, 0])) for part in found)
    assert nearest < 8
    assert all(part.place is Place.SOFT for part in found)


def test_cysts_have_a_rim_and_lie_in_bone_only():
    rng = np.random.default_rng(3)
    tissues = Tissues.sample(rng)
    found = [part for _ in range(40) for part in lesions(rng, tissues, MARKS)]
    assert {part.place for part in found} == {Place.BONE}
    cysts = [(rim, cyst) for rim, cyst in itertools.pairwise(found) if np.array_equal(rim.start, cyst.end)]
    assert len(cysts) > 5
    assert all(rim.radius > cyst.radius and rim.hu > cyst.hu for rim, cyst in cysts)


def test_a_roughened_femur_differs_by_less_than_a_few_millimetres():
    before = femur()
    after = roughened(before, np.random.default_rng(5))
    assert 0 < np.abs(after.distance - before.distance).mean() < 0.6
    assert np.abs(after.distance - before.distance).max() < 12
