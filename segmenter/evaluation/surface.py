"""Distances between the surfaces of two masks, in mm, exact on anisotropic grids.

A mask's surface is taken as the voxel faces between inside and outside: each face stands for its own area, and two
masks that differ by one layer are exactly one layer apart. Counting border voxels instead would overweight the flat
ends of thick slices.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from segmenter.volume.geometry import Geometry, Matrix

HD_QUANTILE = 0.95


def surface_distances(a: NDArray[np.bool_], b: NDArray[np.bool_], geometry: Geometry) -> tuple[float, float]:
    """Return ASSD and HD95 of two masks `(z, y, x)`, mm; both infinite when a mask is empty.

    ASSD: the mean distance over both surfaces together. HD95: the greater of the two directions' 95th percentiles.
    """
    if not a.any() or not b.any():
        return np.inf, np.inf
    points_a, areas_a = faces(a, geometry)
    points_b, areas_b = faces(b, geometry)
    to_b, _ = cKDTree(points_b).query(points_a)
    to_a, _ = cKDTree(points_a).query(points_b)
    assd = (to_b @ areas_a + to_a @ areas_b) / (areas_a.sum() + areas_b.sum())
    return float(assd), max(_quantile(to_b, areas_a), _quantile(to_a, areas_b))


def faces(mask: NDArray[np.bool_], geometry: Geometry) -> tuple[Matrix, NDArray[np.float64]]:
    """Return the centres `(n, 3)` of a mask's faces in LPS mm and their areas in mm2; the grid's end is outside."""
    (box,) = ndimage.find_objects(mask.astype(np.uint8))
    padded = np.pad(mask[box], 1)
    start = np.array([side.start for side in box], float)
    centres, areas = [], []
    for axis in range(3):
        inner = tuple(slice(None) if a == axis else slice(1, -1) for a in range(3))
        index = np.argwhere(np.diff(padded[inner], axis=axis)) + start
        index[:, axis] -= 0.5
        centres.append(geometry.to_patient(index))
        edges = np.delete(geometry.affine[:3, :3], axis, axis=1)
        areas.append(np.full(len(index), np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]))))
    return np.concatenate(centres), np.concatenate(areas)


def _quantile(distances: NDArray[np.float64], areas: NDArray[np.float64]) -> float:
    """Return the distance that 95 % of the area do not exceed."""
    order = np.argsort(distances)
    through = np.cumsum(areas[order])
    # A share that is met exactly must not be missed by rounding.
    at = np.searchsorted(through, HD_QUANTILE * through[-1] * (1 - 1e-12))
    return float(distances[order][at])
