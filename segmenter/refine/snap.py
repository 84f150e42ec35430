"""Move a surface to the half-way HU: each point moves along its normal, and neighbouring points move alike.

The surface of a bone in CT is where HU are half-way between the bone's edge and what lies beside it. Labels of real
scans are made so, and networks learn it from them.
"""

from math import ceil

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse.linalg import cg
from scipy.spatial import KDTree

from segmenter.measure.surface import Surface, surface_at
from segmenter.refine.rays import Search, bending, nearest_edges
from segmenter.volume.geometry import Geometry
from segmenter.volume.masks import bounding_box
from segmenter.volume.resample import cut

FloatVolume = NDArray[np.float32]

SURFACE = 0.5
MOST_MM = 1.5
SEARCH = Search(MOST_MM, MOST_MM, 1.0)
STIFF, STAY = 4.0, 0.1  # weight of even bending and of staying, against 1 of an edge surely seen
BAND_MM = 3.0
VERTICES = 3  # nearest to a voxel, that tell how far it is from the surface
TOLERANCE = 1e-3


def snapped(share: FloatVolume, grid: Geometry, volume: NDArray[np.generic], geometry: Geometry) -> FloatVolume:
    """Return a femur, 0..1 `(z, y, x)` on `grid` with its surface at one half, with the surface where HU are half-way.

    volume: HU `(z, y, x)` on `geometry`. A cavity's surface stays where it is.
    """
    box = bounding_box(share > SURFACE, margin=1)
    _, near = cut(grid, np.array([at.start for at in box]), np.array([at.stop for at in box]))
    surface = surface_at(share[box], near, SURFACE)
    return moved(share, grid, surface, offsets(surface, volume, geometry))


def offsets(surface: Surface, volume: NDArray[np.generic], geometry: Geometry) -> NDArray[np.float64]:
    """Return by how many mm every vertex has to move outwards, `(v,)`."""
    edges = nearest_edges(volume, geometry, surface.vertices, surface.normals, SEARCH)
    stiff = bending(len(surface.vertices), surface.faces)
    system = sparse.csr_array(sparse.diags_array(edges.sure + STAY) + STIFF * stiff)
    result, _ = cg(system, edges.sure * edges.at, rtol=TOLERANCE)
    limited: NDArray[np.float64] = np.clip(result, -MOST_MM, MOST_MM)
    return limited


def moved(share: FloatVolume, grid: Geometry, surface: Surface, outwards: NDArray[np.float64]) -> FloatVolume:
    """Return the femur with every vertex of its surface moved by so many mm; share and result `(z, y, x)` on `grid`."""
    inside = share > SURFACE
    around = ceil(BAND_MM / min(grid.spacing))
    box = bounding_box(inside, margin=around)
    near = ndimage.binary_dilation(inside[box], iterations=around)
    near &= ~ndimage.binary_erosion(inside[box], iterations=around, border_value=1)
    index = np.argwhere(near) + [at.start for at in box]
    points = grid.to_patient(index)
    gap, nearest = KDTree(surface.vertices).query(points, k=VERTICES)
    closeness = 1 / np.maximum(gap, 1e-6)
    height = np.einsum("nkc,nkc->nk", points[:, None] - surface.vertices[nearest], surface.normals[nearest])
    distance = ((height - outwards[nearest]) * closeness).sum(axis=1) / closeness.sum(axis=1)
    beside = gap[:, 0] < BAND_MM  # elsewhere the surface is that of a cavity or a loose piece
    result = inside.astype(np.float32)
    result[tuple(index[beside].T)] = np.clip(0.5 - distance[beside] / (2 * BAND_MM), 0, 1)
    return result
