"""Volumes keep their place in the patient when they change grids."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from segmenter.volume.geometry import Geometry
from segmenter.volume.resample import crop_to, reduce, resample


def smooth_field(points: np.ndarray) -> np.ndarray:
    return (2 * points[..., 0] - points[..., 1] + 0.5 * points[..., 2]).astype(np.float32)


def values_on(grid: Geometry) -> np.ndarray:
    return smooth_field(grid.to_patient(np.moveaxis(np.indices(grid.shape), 0, -1)))


def oblique(shape: tuple[int, int, int]) -> Geometry:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [20, -10, 30], degrees=True).as_matrix() * [1.5, 0.9, 0.7]
    affine[:3, 3] = [3, 4, 5]
    return Geometry(shape, affine)


def shifted(grid: Geometry, mm: float) -> Geometry:
    affine = grid.affine.copy()
    affine[:3, 3] += mm
    return Geometry(grid.shape, affine)


def test_a_linear_field_is_reproduced_between_oblique_grids():
    source = Geometry.axial((60, 60, 60), (1.0, 1.0, 1.0), (-30.0, -30.0, -30.0))
    target = oblique((8, 8, 8))
    assert resample(values_on(source), source, target, None) == pytest.approx(values_on(target), abs=1e-3)


@pytest.mark.parametrize("axis", range(3))
def test_what_the_source_does_not_cover_is_outside(axis: int):
    origin = [0.0, 0.0, 0.0]
    origin[axis] = 2.0
    source = Geometry.axial((4, 4, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    target = Geometry.axial((4, 4, 4), (1.0, 1.0, 1.0), (origin[0], origin[1], origin[2]))
    result = np.moveaxis(resample(np.ones(source.shape), source, target, -1024.0), 2 - axis, 0)
    assert (result[:2] == 1).all()
    assert (result[2:] == -1024).all()


def test_the_outermost_voxel_is_no_outside_however_its_place_is_rounded():
    source = Geometry.axial((8, 8, 8), (0.3, 0.7, 0.7), (-100.1, 33.3, 7.7))
    assert (resample(np.ones(source.shape), source, source, -1024.0) == 1).all()
    assert (resample(np.ones(source.shape), source, shifted(source, 5.0), None) == 1).all()


STACKS = {
    "axial": np.eye(3),
    "feet first": np.diag([-1.0, 1.0, 1.0]),
    "prone": np.diag([1.0, -1.0, -1.0]),
    "coronal": np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]]),
    "sagittal": np.array([[0.0, 0, 1], [-1, 0, 0], [0, 1, 0]]),
}


def stack(axes: np.ndarray, tilt_degrees: float = 0.0) -> Geometry:
    """A scan whose slices, rows and columns run along the rows of `axes` (z, y, x), turned about all of them."""
    turned = Rotation.from_euler("xyz", [tilt_degrees] * 3, degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turned @ axes[:, ::-1].T * [1.25, 0.8, 0.7]
    affine[:3, 3] = -affine[:3, :3] @ [15.0, 20.0, 25.0]
    return Geometry((31, 41, 51), affine)


@pytest.mark.parametrize("axes", STACKS.values(), ids=STACKS)
@pytest.mark.parametrize("step", [0.5, 1.5, 4.0])
def test_a_parallel_grid_gives_what_a_grid_turned_by_a_hair_gives(axes: np.ndarray, step: float):
    noise = np.random.default_rng(1).normal(0, 100, (31, 41, 51)).astype(np.float32)
    target = Geometry.axial((6, 5, 7), (step, step, step), (-2.0, -3.0, -1.0))
    parallel = reduce(noise, stack(axes), target, -1024.0)
    turned = reduce(noise, stack(axes, tilt_degrees=0.003), target, -1024.0)  # too much for the way axis by axis
    assert parallel == pytest.approx(turned, abs=1.0)
    assert not np.array_equal(parallel, turned)


def test_reducing_keeps_the_mean_of_a_thin_sheet():
    source = Geometry.axial((40, 40, 40), (0.5, 0.5, 0.5), (0.0, 0.0, 0.0))
    sheet = np.zeros(source.shape, np.int16)
    sheet[20] = 1000
    target = Geometry.axial((5, 5, 5), (4.0, 4.0, 4.0), (1.0, 1.0, 1.0))
    coarse = reduce(sheet, source, target, 0.0)
    assert coarse.max() < 250
    assert coarse[:, 2, 2].sum() == pytest.approx(1000 / 8, rel=0.35)


def test_the_crop_covers_the_target():
    source = Geometry.axial((50, 60, 70), (2.0, 0.8, 0.8), (-20.0, -30.0, 100.0))
    target = Geometry.axial((4, 5, 6), (1.5, 1.5, 1.5), (-10.0, -12.0, 130.0))
    box, part = crop_to(source, target)
    volume = values_on(source)
    assert part.shape == volume[box].shape
    assert volume[box] == pytest.approx(values_on(part), abs=1e-3)
    inside = part.to_index(target.corners())
    assert (inside > 0).all()
    assert (inside < np.array(part.shape) - 1).all()
