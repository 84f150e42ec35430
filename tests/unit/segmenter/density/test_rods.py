"""A rod's voxels: its edge, its core, its slices, and which of them are disturbed."""

import numpy as np
import pytest
from qct_factory import AXIAL, turned
from scipy.spatial.transform import Rotation

from segmenter.density.placement import Placement
from segmenter.density.rods import Cylinder, by_slice, core_radius, cylinder, find_edge, slice_step
from segmenter.synth.scanner import drifted
from segmenter.volume.geometry import Geometry

STRAIGHT = Placement(np.zeros(2), np.zeros(2), 0.0, 1.0, False, -30.0, 30.0)
NUMBERS = np.arange(20)


def disc(radius: float, inside: float, outside: float, rim: float = 0.0) -> Cylinder:
    """Return evenly spread voxels of twenty slices around a rod; rim: added to its outermost two millimetres."""
    distance = np.tile(np.sqrt(np.linspace(0, 16.0**2, 4000)), len(NUMBERS))
    hu = np.where(distance < radius, inside, outside).astype(float)
    hu[(distance > radius - 2) & (distance < radius)] += rim
    return Cylinder(distance, np.repeat(NUMBERS, 4000), hu)


@pytest.mark.parametrize("radius", [8.0, 9.0, 10.3])
@pytest.mark.parametrize(("inside", "outside"), [(300.0, 5.0), (-60.0, 5.0), (60.0, -1000.0)])
def test_the_edge_is_where_the_hu_fall_half_way(radius: float, inside: float, outside: float):
    edge = find_edge(disc(radius, inside, outside), 9.0, 14.0)
    assert edge.radius == pytest.approx(radius, abs=0.6)
    assert edge.contrast == pytest.approx(inside - outside)
    assert edge.overshoot == pytest.approx(0, abs=0.01)


def test_without_contrast_there_is_no_edge():
    edge = find_edge(disc(9.0, 5.0, 5.0), 9.0, 14.0)
    assert np.isnan(edge.radius)
    assert np.isnan(find_edge(Cylinder(np.empty(0), np.empty(0, int), np.empty(0)), 9.0, 14.0).radius)


def test_a_sharpened_edge_overshoots():
    assert find_edge(disc(9.0, 200.0, 0.0, rim=60.0), 9.0, 14.0).overshoot == pytest.approx(0.3, abs=0.05)


def test_a_core_keeps_away_from_the_surface():
    fine = Geometry.axial((40, 100, 100), (2.0, 0.8, 0.8), (0.0, 0.0, 0.0))
    assert core_radius(fine, STRAIGHT, 9.0) == pytest.approx(6.75)  # three quarters of the radius
    assert core_radius(fine, STRAIGHT, 6.0) == pytest.approx(6 - 0.4 - 1.5)
    assert core_radius(fine, STRAIGHT, 9.0, overshoot=0.2) == pytest.approx(9 - 0.4 - 3.5)
    assert core_radius(Geometry.axial((9, 9, 9), (4.0, 4.0, 4.0), (0.0, 0.0, 0.0)), STRAIGHT, 4.0) == 0


@pytest.mark.parametrize("angles", [(0, 0, 0), (0, 0, 30), (35, 0, 0), (20, 40, 10)])
def test_the_voxels_of_a_rod_are_taken_by_their_place_in_the_patient(angles: tuple[float, float, float]):
    grid = turned(AXIAL, Rotation.from_euler("xyz", angles, degrees=True).as_matrix())
    grid = Geometry(grid.shape, grid.affine)
    place = Placement(np.array([5.0, 3.0]), np.array([0.05, -0.02]), 0.0, 1.0, False, -20.0, 20.0)
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    points = grid.to_patient(index)
    volume = points[..., 2].astype(np.float32)  # every voxel says how high it lies
    voxels = cylinder(volume, grid, place, np.array([5.0, 3.0, 0.0]), 8.0)
    volume_mm3 = len(voxels.hu) * grid.voxel_volume_mm3
    assert volume_mm3 == pytest.approx(np.pi * 8**2 * 40, rel=0.03)
    assert voxels.distance.max() <= 8
    assert (voxels.hu.min(), voxels.hu.max()) == pytest.approx((-20, 20), abs=3.0)
    height = (voxels.number * slice_step(grid)) + grid.affine[2, 3]
    assert np.abs(height - voxels.hu).max() <= 0.5 * slice_step(grid) + 1e-3


def slices(mean: np.ndarray, noise: float = 5.0, spoilt: tuple[int, ...] = ()) -> Cylinder:
    rng = np.random.default_rng(4)
    hu = mean[:, None] + rng.normal(0, noise, (len(mean), 60))
    for number in spoilt:
        hu[number] += np.resize([-80.0, 80.0], 60)
    return Cylinder(np.full(hu.size, 2.0), np.repeat(np.arange(len(mean)), 60), hu.ravel())


def test_slices_are_averaged():
    rod = by_slice(slices(np.full(20, 130.0)), 5.0, NUMBERS)
    assert rod.hu == pytest.approx(130, abs=1)
    assert rod.sd_hu == pytest.approx(5, rel=0.1)
    assert (rod.slices, rod.share) == (20, 1.0)


def test_slices_unlike_the_others_are_left_out():
    mean = np.full(20, 130.0)
    mean[[0, 19]] = 20.0  # the ends of the rod
    rod = by_slice(slices(mean, spoilt=(7,)), 5.0, NUMBERS)
    assert list(np.flatnonzero(~rod.good)) == [0, 7, 19]
    assert rod.hu == pytest.approx(130, abs=1)
    assert rod.share == pytest.approx(17 / 20)


def test_a_rod_without_voxels_has_no_slices():
    rod = by_slice(Cylinder(np.empty(0), np.empty(0, int), np.empty(0)), 5.0, NUMBERS)
    assert (rod.slices, rod.share, rod.change_hu) == (0, 0.0, 0.0)


def test_a_slow_change_along_the_table_is_told():
    assert by_slice(slices(np.linspace(120, 140, 20), noise=1.0), 5.0, NUMBERS).change_hu == pytest.approx(20, abs=1)


def test_a_drift_moves_mineral_and_fat_but_neither_water_nor_air():
    hu = np.array([-1024, -1000, -100, 0, 100, 1000], np.float32)
    assert drifted(hu, 0.05) == pytest.approx([-1024, -1000, -105, 0, 105, 1050])
    assert drifted(hu, 0.0) is hu
