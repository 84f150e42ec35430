"""Volumes keep their place in the patient when they change grids."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from segmenter.geometry import Geometry
from segmenter.resample import crop_to, reduce, resample


def smooth_field(points: np.ndarray) -> np.ndarray:
    return (2 * points[..., 0] - points[..., 1] + 0.5 * points[..., 2]).astype(np.float32)


def values_on(grid: Geometry) -> np.ndarray:
    return smooth_field(grid.to_patient(np.moveaxis(np.indices(grid.shape), 0, -1)))


def oblique(shape: tuple[int, int, int]) -> Geometry:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [20, -10, 30], degrees=True).as_matrix() * [1.5, 0.9, 0.7]
    affine[:3, 3] = [3, 4, 5]
    return Geometry(shape, affine)


def test_a_linear_field_is_reproduced_between_oblique_grids():
    source = Geometry.axial((60, 60, 60), (1.0, 1.0, 1.0), (-30.0, -30.0, -30.0))
    target = oblique((8, 8, 8))
    assert resample(values_on(source), source, target, None) == pytest.approx(values_on(target), abs=1e-3)


def test_what_the_source_does_not_cover_is_outside():
    source = Geometry.axial((4, 4, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    target = Geometry.axial((4, 4, 4), (1.0, 1.0, 1.0), (100.0, 0.0, 0.0))
    assert (resample(np.zeros((4, 4, 4)), source, target, -1024.0) == -1024).all()


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
