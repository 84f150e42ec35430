"""Evenly distributed directions on a sphere, and the HU profiles along them from a point outwards."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from segmenter.volume.geometry import Geometry, Matrix

SUBDIVISIONS = 4  # of an icosahedron: 2562 directions, 1.5 mm apart on a head
STEP_MM = 0.25
BLUR_MM = 0.5  # along a ray: noise is less an edge than the bone's is
SIDE_MM = 3.0  # bone is looked for so far inside an edge, what is no bone so far outside
DROP_HU, SURE_HU = (40.0, 150.0)  # an edge that falls less counts nothing; so much more counts fully
WALL_MM = 0.5  # of another bone, as far as it may be chance
LEAST = 5.0  # HU, of an edge's depth after all doubts
MOST_HU = 400.0  # of two edges a deeper one is preferred up to here


@dataclass(frozen=True, eq=False)
class Sphere:
    """Unit vectors `(n, 3)` evenly over a sphere, and the matrix `(n, n)` that takes the bending of values on them."""

    rays: Matrix
    bending: sparse.csr_array


@cache
def sphere(subdivisions: int = SUBDIVISIONS) -> Sphere:
    """Return the vertices of a subdivided icosahedron; bending: the squared umbrella operator over its edges."""
    golden = (1 + np.sqrt(5)) / 2
    corners = [np.roll([0, a, b * golden], turn) for turn in range(3) for a in (-1, 1) for b in (-1, 1)]
    points = np.array(corners, float)
    gap = np.linalg.norm(points[:, None] - points, axis=-1)
    near = (gap > 0) & (gap < 2.1)  # edges are 2 long
    faces = np.array(
        [(a, b, c) for a in range(12) for b in range(a) for c in range(b) if near[a, b] and near[b, c] and near[a, c]]
    )
    for _ in range(subdivisions):
        edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
        unique, number = np.unique(edges, axis=0, return_inverse=True)
        x, y, z = len(points) + number.reshape(3, -1)
        a, b, c = faces.T
        points = np.concatenate([points, points[unique].mean(axis=1)])
        faces = np.concatenate([np.stack(face, axis=1) for face in ((a, x, z), (b, y, x), (c, z, y), (x, y, z))])
    return Sphere(points / np.linalg.norm(points, axis=1, keepdims=True), bending(len(points), faces))


def bending(count: int, faces: NDArray[np.integer]) -> sparse.csr_array:
    """Return the matrix `(count, count)` of the summed squared differences of vertices from their neighbours' mean."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    links = sparse.csr_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count))
    links = (links + links.T).astype(bool).astype(float)
    inverse = sparse.diags_array(1 / np.maximum(links.sum(axis=1), 1))
    umbrella = sparse.eye_array(count) - inverse @ links
    return sparse.csr_array(umbrella.T @ umbrella)


@dataclass(frozen=True, eq=False)
class Edges:
    """Where HU fall off half-way along lines outwards, each `(n,)`.

    at: mm from the feet, 0 where there is none. sure: 0..1, by how deep the fall is. seen: the scan holds the foot.
    """

    at: NDArray[np.float64]
    sure: NDArray[np.float64]
    seen: NDArray[np.bool_]


@dataclass(frozen=True)
class Search:
    """How far an edge is looked for, mm inwards and outwards, and what counts as near: the nearer of two is taken."""

    inwards: float
    outwards: float
    near_mm: float


def nearest_edges(
    volume: NDArray[np.generic],
    geometry: Geometry,
    feet: Matrix,
    directions: Matrix,
    search: Search,
    wall: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
) -> Edges:
    """Return the edges of bone along lines outwards from their feet; beyond the scan there is none.

    volume: HU `(z, y, x)`; feet, directions: `(n, 3)` LPS mm; of several edges the deeper and nearer one is taken.
    wall: from which mm on `(n,)` HU above which level `(n,)` are another bone's, which an edge must not lie behind.
    """
    at = np.arange(-search.inwards - SIDE_MM, search.outwards + SIDE_MM + STEP_MM / 2, STEP_MM)
    index = geometry.to_index(feet[:, None] + at[:, None] * directions[:, None])
    seen: NDArray[np.bool_] = np.all((index > -0.5) & (index < np.array(geometry.shape) - 0.5), axis=-1)
    hu = ndimage.map_coordinates(volume, np.moveaxis(index, -1, 0), np.float32, order=1, mode="nearest")
    hu = ndimage.gaussian_filter1d(hu, BLUR_MM / STEP_MM, axis=1, mode="nearest")
    side = round(SIDE_MM / STEP_MM)
    inner = ndimage.maximum_filter1d(hu, side + 1, axis=1, origin=side // 2, mode="nearest")
    outer = ndimage.minimum_filter1d(hu, side + 1, axis=1, origin=-(side // 2), mode="nearest")
    level, drop = (inner + outer) / 2, inner - outer
    above = hu - level
    within = (at[:-1] >= -search.inwards) & (at[:-1] <= search.outwards)
    crosses = (above[:, :-1] >= 0) & (above[:, 1:] < 0) & within
    worth = crosses * np.minimum(drop[:, :-1], MOST_HU) * np.exp(-((at[:-1] / search.near_mm) ** 2))
    if wall is not None:
        passed = np.cumsum((hu > wall[1][:, None]) & (at > wall[0][:, None]), axis=1)[:, :-1] * STEP_MM
        worth *= np.exp(-np.maximum(passed - WALL_MM, 0) / WALL_MM)
    best, line = worth.argmax(axis=1), np.arange(len(feet))
    before, after = above[line, best], above[line, best + 1]
    where = at[best] + STEP_MM * before / np.maximum(before - after, 1e-6)
    sure = np.clip((drop[line, best] - DROP_HU) / SURE_HU, 0, 1) * (worth[line, best] > LEAST) * seen[line, best]
    return Edges(np.where(sure > 0, where, 0.0), sure, seen[:, np.searchsorted(at, 0.0)])
