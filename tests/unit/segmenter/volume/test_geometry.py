"""Indices to patient space and back."""

import numpy as np
import pytest

from segmenter.volume.geometry import Geometry


def test_an_axial_grid_runs_along_the_patient_axes():
    grid = Geometry.axial((5, 4, 3), (3.0, 0.8, 0.5), (10.0, -20.0, 30.0))
    assert grid.to_patient(np.array([0, 0, 0])).tolist() == [10.0, -20.0, 30.0]
    assert grid.to_patient(np.array([2, 1, 2])) == pytest.approx([11.0, -19.2, 36.0])
    assert grid.spacing == pytest.approx((3.0, 0.8, 0.5))
    assert grid.voxel_volume_mm3 == pytest.approx(1.2)


def test_index_and_patient_are_inverse_on_an_oblique_grid():
    rng = np.random.default_rng(1)
    axes, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = axes * [2.5, 0.7, 0.9]
    affine[:3, 3] = [5, -7, 300]
    grid = Geometry((10, 20, 30), affine)
    index = rng.uniform(0, 10, (50, 3))
    assert grid.to_index(grid.to_patient(index)) == pytest.approx(index)
    assert grid.spacing == pytest.approx((2.5, 0.7, 0.9))


def test_corners_are_the_extreme_voxel_centres():
    grid = Geometry.axial((2, 3, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    corners = grid.corners()
    assert corners.shape == (8, 3)
    assert corners.min(axis=0).tolist() == [0, 0, 0]
    assert corners.max(axis=0).tolist() == [3, 2, 1]


def test_of_tilted_slices_the_planes_are_nearer_than_the_voxels():
    grid = Geometry.axial((5, 4, 3), (3.0, 0.8, 0.5), (10.0, -20.0, 30.0))
    assert grid.distances == pytest.approx(grid.spacing)
    assert grid.normals == pytest.approx(np.eye(3)[::-1])
    assert grid.tilt_degrees == pytest.approx(0)
    sheared = grid.affine.copy()
    sheared[1, 0] = 4.0  # 3 mm up, 4 mm to the back
    tilted = Geometry(grid.shape, sheared)
    assert tilted.spacing == pytest.approx((5.0, 0.8, 0.5))
    assert tilted.distances == pytest.approx((3.0, 0.8 * 3 / 5, 0.5))
    assert tilted.normals == pytest.approx(np.array([[0, 0, 1], [0, 0.6, -0.8], [1, 0, 0]]))
    assert tilted.tilt_degrees == pytest.approx(np.degrees(np.arctan2(4, 3)))
    assert tilted.voxel_volume_mm3 == pytest.approx(3 * 0.8 * 0.5)
