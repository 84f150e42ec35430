"""The outline after the network: rays and edges, a head under a roof that touches it, a surface at the half-way HU."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from segmenter.measure.surface import surface_at
from segmenter.refine.head import HeadSurface, balls, find_surface, metal_share, roundness, starts, to_sphere, with_head
from segmenter.refine.outline import completed
from segmenter.refine.rays import Search, bending, nearest_edges, sphere
from segmenter.refine.snap import MOST_MM, offsets, snapped
from segmenter.volume.femur import Side
from segmenter.volume.geometry import Geometry

GRID = Geometry.axial((80, 64, 64), (1.5, 1.5, 1.5), (-48.0, -48.0, -80.0))
RADIUS = 22.0
NECK = np.array([0.7, 0.0, -0.71])


def distances(geometry: Geometry) -> tuple[np.ndarray, np.ndarray]:
    """Signed distance to a left femur, a ball about the origin on a rod, and to a roof that lies on it; mm."""
    index = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), axis=-1)
    point = geometry.to_patient(index)
    along = (point @ NECK).clip(0, 200)
    rod = np.linalg.norm(point - along[..., None] * NECK, axis=-1) - 12.0
    far = np.linalg.norm(point, axis=-1)
    roof = np.maximum.reduce([far - RADIUS - 14, RADIUS - far, 0.55 * far - point[..., 2]])
    return np.minimum(far - RADIUS, rod), roof


def scan(geometry: Geometry = GRID, roof_hu: float = 600.0) -> np.ndarray:
    """A scan of it: bone 350, a denser roof without any joint space, flesh 50."""
    femur, roof = distances(geometry)
    hu = 50 + np.clip(0.5 - roof / 1.5, 0, 1) * (roof_hu - 50)
    hu += np.clip(0.5 - femur / 1.5, 0, 1) * (350 - hu)
    return ndimage.gaussian_filter(hu, 0.6).astype(np.int16)


def share(distance: np.ndarray) -> np.ndarray:
    return np.clip(0.5 - distance / 3, 0, 1).astype(np.float32)


def too_low() -> np.ndarray:
    """What a network says that takes the upper 5 mm of the head for roof."""
    femur, _ = distances(GRID)
    height = GRID.to_patient(np.stack(np.meshgrid(*map(np.arange, GRID.shape), indexing="ij"), axis=-1))[..., 2]
    return share(np.maximum(femur, height - (RADIUS - 5)))


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    return 2 * (found & truth).sum() / (found.sum() + truth.sum())


def surface(
    volume: np.ndarray, geometry: Geometry, femur: np.ndarray, grid: Geometry, side: Side
) -> HeadSurface | None:
    """What is found of a head from the balls in it."""
    return find_surface(volume, geometry, femur, grid, starts(geometry, femur, grid, side))


def test_rays_lie_evenly_over_the_sphere():
    rays = sphere(3).rays
    assert len(rays) == 642
    assert np.linalg.norm(rays, axis=1) == pytest.approx(1)
    assert rays.mean(axis=0) == pytest.approx(0, abs=1e-6)
    nearest = np.sort(np.linalg.norm(rays[:, None] - rays, axis=-1), axis=1)[:, 1]
    assert nearest.min() > 0.6 * nearest.max()


def test_what_is_even_does_not_bend():
    faces = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]])
    assert bending(4, faces) @ np.ones(4) == pytest.approx(0)
    assert (bending(4, faces) @ np.array([1.0, 0, 0, 0]))[0] > 0.5


def test_an_edge_is_where_hu_are_half_way_and_only_within_reach():
    block = Geometry.axial((9, 9, 60), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    hu = np.full(block.shape, 50, np.int16)
    hu[:, :, :31] = 450  # the edge lies at 30.5 mm
    feet, along = np.array([[29.0, 4, 4], [32.0, 4, 4], [20.0, 4, 4]]), np.array([[1.0, 0, 0]] * 3)
    edges = nearest_edges(hu, block, feet, along, Search(2.0, 2.0, 2.0))
    assert edges.at[:2] == pytest.approx([1.5, -1.5], abs=0.05)
    assert (edges.sure[:2] == 1).all()
    assert edges.at[2] == edges.sure[2] == 0


def test_an_edge_behind_the_wall_of_another_bone_is_none():
    block = Geometry.axial((9, 9, 60), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    hu = np.full(block.shape, 50, np.int16)
    hu[:, :, :31], hu[:, :, 31:36] = 300, 800
    foot, along = np.array([[31.0, 4, 4]]), np.array([[1.0, 0, 0]])
    wall = (np.array([0.5]), np.array([450.0]))
    assert nearest_edges(hu, block, foot, along, Search(2.0, 6.0, 4.0)).at[0] == pytest.approx(4.5, abs=0.2)
    assert nearest_edges(hu, block, foot, along, Search(2.0, 6.0, 4.0), wall).sure[0] == 0


def test_beyond_the_scan_there_is_no_edge():
    hu = np.full(GRID.shape, 300, np.int16)
    foot = GRID.to_patient(np.array([[40, 32, 63]]))
    assert nearest_edges(hu, GRID, foot, np.array([[1.0, 0, 0]]), Search(1.0, 2.0, 1.0)).sure[0] == 0


def test_a_head_is_completed_under_a_roof_that_touches_it():
    femur, _ = distances(GRID)
    before = too_low()
    head = surface(scan(), GRID, before, GRID, Side.LEFT)
    assert head is not None
    assert head.radius == pytest.approx(RADIUS, abs=0.7)
    after = with_head(before, GRID, head)
    dome = np.s_[62:]  # from 13 mm above its middle
    truth = femur[dome] < 0
    assert dice(before[dome] > 0.5, truth) < 0.85
    assert dice(after[dome] > 0.5, truth) > 0.96
    assert (after[: GRID.shape[0] // 4] == before[: GRID.shape[0] // 4]).all()  # the shaft is none of its business


def test_a_head_that_the_scan_cuts_is_found_all_the_same():
    half = Geometry.axial((80, 33, 64), (1.5, 1.5, 1.5), (-48.0, -48.0, -80.0))  # ends 1.5 mm in front of its middle
    head = surface(scan()[:, :33], half, too_low()[:, :33], half, Side.LEFT)
    assert head is not None
    assert head.radius == pytest.approx(RADIUS, abs=1.0)


def test_what_is_round_at_the_wrong_end_is_no_head():
    assert surface(scan(), GRID, too_low(), GRID, Side.RIGHT) is None


def test_without_edges_there_is_no_head():
    assert surface(np.full(GRID.shape, 40, np.int16), GRID, too_low(), GRID, Side.LEFT) is None
    assert surface(scan(), GRID, np.zeros(GRID.shape, np.float32), GRID, Side.LEFT) is None


def test_a_sphere_that_leaves_out_much_of_the_bone_is_not_trusted():
    head = HeadSurface(np.zeros(3), NECK, np.full(2562, RADIUS), RADIUS, 0.8, 0.9, 0.02, 0.1)
    assert head.plausible
    for change in ({"lost": 0.2}, {"on": 0.4}, {"agreed": 0.1}, {"radius": 40.0}):
        assert not replace(head, **change).plausible
    assert replace(head, lost=0.2).recognised
    assert not replace(head, on=0.6).recognised


def test_metal_in_a_head_is_seen():
    head = HeadSurface(np.zeros(3), NECK, np.full(2562, RADIUS), RADIUS, 0.8, 0.9, 0.02, 0.1)
    hu = scan()
    assert not metal_share(hu, GRID, head)
    index = tuple(np.round(GRID.to_index(np.zeros(3))).astype(int))
    hu[index[0] - 1 : index[0] + 2, index[1] - 1 : index[1] + 2, index[2] - 1 : index[2] + 2] = 3000
    assert metal_share(hu, GRID, head)


def test_balls_go_on_where_the_scan_cuts_the_bone():
    inside = distances(GRID)[0] < 0
    seen = np.ones(GRID.shape, bool)
    seen[:, 33:] = False
    (centre, radius), *_ = balls(inside & seen, seen, GRID)
    assert centre == pytest.approx([0, 0, 0], abs=2.5)
    assert radius == pytest.approx(RADIUS, abs=2)


def test_the_way_to_a_sphere_from_a_point_in_it():
    rays = np.array([[1.0, 0, 0], [-1.0, 0, 0], [0, 1.0, 0]])
    assert to_sphere(np.array([2.0, 0, 0]), rays, np.zeros(3), 10.0) == pytest.approx([8, 12, np.sqrt(96)])


@pytest.mark.parametrize("shift", [-1.0, 0.8])
def test_a_surface_moves_to_the_half_way_hu(shift: float):
    femur, _ = distances(GRID)
    hu = (50 + 350 * np.clip(0.5 - femur / 1.5, 0, 1)).astype(np.int16)
    surface = surface_at(share(femur + shift), GRID, 0.5)
    middle = np.abs(GRID.to_index(surface.vertices) - np.array(GRID.shape) / 2).max(axis=1) < 24
    assert offsets(surface, hu, GRID)[middle].mean() == pytest.approx(shift, abs=0.15)
    after = snapped(share(femur + shift), GRID, hu, GRID)
    grown = (after > 0.5).sum() / (share(femur + shift) > 0.5).sum() - 1
    assert np.sign(grown) == np.sign(shift)


def test_no_point_moves_farther_than_allowed_and_none_without_an_edge():
    femur, _ = distances(GRID)
    surface = surface_at(share(femur), GRID, 0.5)
    assert offsets(surface, np.full(GRID.shape, 300, np.int16), GRID) == pytest.approx(0, abs=1e-6)
    assert np.abs(offsets(surface, scan(), GRID)).max() <= MOST_MM


def test_an_outline_is_made_whole_and_its_head_round():
    femur, _ = distances(GRID)
    holed = too_low()
    holed[50:53, 30:33, 30:33] = 0.0
    holed[2:5, 2:5, 2:5] = 1.0  # a stray piece
    after = completed(holed, GRID, (scan(), GRID), Side.LEFT, 0.02) > 0.5
    assert after[51, 31, 31]
    assert not after[:8, :8, :8].any()
    assert dice(after, femur < 0) > 0.97
    assert not completed(np.zeros_like(holed), GRID, (scan(), GRID), Side.LEFT).any()


def test_a_head_of_which_little_is_missing_stays_as_the_network_says():
    femur, _ = distances(GRID)
    assert (completed(share(femur), GRID, (scan(), GRID), Side.LEFT) == share(femur)).all()


def test_only_a_head_that_is_not_round_is_searched_for_its_edges(monkeypatch: pytest.MonkeyPatch):
    femur, _ = distances(GRID)
    assert roundness(GRID, share(femur), GRID, starts(GRID, share(femur), GRID, Side.LEFT)) > 0.95
    assert roundness(GRID, too_low(), GRID, starts(GRID, too_low(), GRID, Side.LEFT)) < 0.92
    monkeypatch.setattr("segmenter.refine.outline.find_surface", lambda *_: pytest.fail("the head is whole"))
    completed(share(femur), GRID, (scan(), GRID), Side.LEFT)


@pytest.mark.parametrize(("is_round", "on", "completes"), [(0.93, 0.74, False), (0.93, 0.85, True), (0.89, 0.72, True)])
def test_a_nearly_round_head_is_completed_by_sure_edges_only(
    monkeypatch: pytest.MonkeyPatch, is_round: float, on: float, completes: bool
):
    before = too_low()
    head = surface(scan(), GRID, before, GRID, Side.LEFT)
    assert head is not None
    monkeypatch.setattr("segmenter.refine.outline.roundness", lambda *_: is_round)
    monkeypatch.setattr("segmenter.refine.outline.find_surface", lambda *_: replace(head, on=on, missing=0.1))
    after = completed(before, GRID, (scan(), GRID), Side.LEFT)
    assert np.array_equal(after, before) != completes
