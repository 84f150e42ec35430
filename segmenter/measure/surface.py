"""A femur as a smooth body: the share of bone on an isotropic grid, and its closed surface.

The mask is resampled to an isotropic grid along the patient's axes, smoothed by less than a millimetre, and cut at the
level that preserves the mask's volume. Measurements on it do not depend on the voxels of the scan.
Marching cubes after Lewiner et al. (J Graphics Tools 8(2), 2003), which produces no holes.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse import csgraph
from skimage.measure import marching_cubes

from segmenter.volume.geometry import Geometry, Matrix, box_geometry
from segmenter.volume.masks import bounding_box
from segmenter.volume.resample import FloatVolume, reduce

STEP_MM = 1.0
SMOOTHING_MM = 0.8  # standard deviation: smooths the steps between slices but preserves a trochanter
LEVELS = (0.25, 0.75)  # beyond these the volume could only be reached by structures that are not in the mask
VOLUME_TOLERANCE = 1e-3
MAX_ROUNDS = 12
CUT_MM = 1.5  # a surface closer to the end of the scan is taken as cut by it


@dataclass(frozen=True, eq=False)
class Surface:
    """A closed surface: vertices `(v, 3)` LPS mm, faces `(f, 3)` of vertex numbers, counter-clockwise from outside."""

    vertices: Matrix
    faces: NDArray[np.int64]

    @property
    def volume_mm3(self) -> float:
        """The enclosed volume, by the divergence theorem; positive where the faces look outwards."""
        middle = self.vertices.mean(axis=0)
        a, b, c = np.moveaxis((self.vertices - middle)[self.faces], 1, 0)
        return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)

    @cached_property
    def normals(self) -> Matrix:
        """Outward unit normals `(v, 3)`, weighted by the faces' areas."""
        a, b, c = np.moveaxis(self.vertices[self.faces], 1, 0)
        across = np.cross(b - a, c - a)
        normals = np.zeros_like(self.vertices)
        for corner in self.faces.T:
            np.add.at(normals, corner, across)
        unit: Matrix = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        return unit


@dataclass(frozen=True, eq=False)
class Body:
    """The share of bone, float32 `(z, y, x)`, on an isotropic grid along LPS; inside is where it exceeds `level`.

    cut: which of the surface's vertices lie at the end of the scan instead of the bone's.
    """

    share: FloatVolume
    grid: Geometry
    level: float
    surface: Surface
    cut: NDArray[np.bool_]

    @cached_property
    def points(self) -> Matrix:
        """The voxel centres inside, `(n, 3)` LPS mm."""
        return self.grid.to_patient(np.argwhere(self.share > self.level))

    def holds(self, points: Matrix) -> NDArray[np.bool_]:
        """Return whether points `(..., 3)`, LPS mm, lie inside."""
        index = np.moveaxis(self.grid.to_index(points), -1, 0)
        share = ndimage.map_coordinates(self.share, index, np.float32, order=1, mode="constant", cval=0.0)
        inside: NDArray[np.bool_] = share > self.level
        return inside


def body_of(mask: NDArray[np.bool_], geometry: Geometry, step_mm: float = STEP_MM) -> Body:
    """Return a mask `(z, y, x)`, not empty, as a smooth body, closed where it touches the end of the grid."""
    share, grid = _share(mask, geometry, step_mm)
    wanted = np.count_nonzero(mask) * geometry.voxel_volume_mm3
    low, high = (level * float(share.max()) for level in LEVELS)  # a small mask may fill no voxel completely
    level = (low + high) / 2
    for _ in range(MAX_ROUNDS):
        surface = surface_at(share, grid, level)
        excess = surface.volume_mm3 / wanted - 1
        if abs(excess) < VOLUME_TOLERANCE:
            break
        low, high = (level, high) if excess > 0 else (low, level)
        area = _shell(share, level) * grid.voxel_volume_mm3 / wanted
        guess = level + excess / area if area > 0 else low
        level = guess if low < guess < high else (low + high) / 2
    index = geometry.to_index(surface.vertices)
    gap = np.minimum(index + 0.5, np.array(geometry.shape) - 0.5 - index) * geometry.distances
    return Body(share, grid, level, surface, gap.min(axis=1) < CUT_MM)


def _share(mask: NDArray[np.bool_], geometry: Geometry, step_mm: float) -> tuple[FloatVolume, Geometry]:
    """Return the smoothed share of bone, 0 at the border of its grid, and that grid."""
    box = bounding_box(mask)
    padded = np.pad(mask[box], 1)
    affine = geometry.affine.copy()
    affine[:3, 3] = geometry.to_patient(np.array([at.start - 1 for at in box]))
    around = Geometry((padded.shape[0], padded.shape[1], padded.shape[2]), affine)
    corners = around.corners()
    margin = 4 * SMOOTHING_MM + 2 * step_mm
    grid = box_geometry(corners.min(axis=0) - margin, corners.max(axis=0) + margin, step_mm)
    share = reduce(padded, around, grid, 0.0)
    return ndimage.gaussian_filter(share, SMOOTHING_MM / step_mm, mode="constant", truncate=3.0), grid


def _shell(share: FloatVolume, level: float) -> float:
    """Return the number of voxels that the body loses per unit of level."""
    width = 0.1
    return float(np.count_nonzero(np.abs(share - level) < width)) / (2 * width)


def surface_at(share: FloatVolume, grid: Geometry, level: float) -> Surface:
    """Return the outer surface of the largest body above a level; small pieces and closed cavities are left out."""
    corners, faces, *_ = marching_cubes(share, level, allow_degenerate=False)
    vertices = grid.to_patient(corners)
    faces = faces.astype(np.int64)
    pairs = faces[:, [0, 1, 1, 2]].reshape(-1, 2)
    links = sparse.coo_array((np.ones(len(pairs), np.int8), pairs.T), shape=(len(vertices),) * 2)
    count, piece = csgraph.connected_components(links, directed=False)
    if count > 1:
        widest = np.argmax([np.ptp(vertices[piece == n], axis=0).prod() for n in range(count)])
        kept = np.flatnonzero(piece == widest)
        number = np.cumsum(piece == widest) - 1
        vertices, faces = vertices[kept], number[faces[piece[faces[:, 0]] == widest]]
    surface = Surface(vertices, faces)
    return surface if surface.volume_mm3 > 0 else Surface(vertices, faces[:, ::-1])
