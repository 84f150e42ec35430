"""The surface of the femoral head: at its visible edges, and elsewhere on the sphere fitted to them.

Under the roof of the acetabulum the joint space is often not seen, in thick slices or because there is none, and a
network that looks for it stops short of it. A head is round: what is seen of it in front, behind, below and at its
sides tells where the rest is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse.linalg import spsolve
from scipy.spatial import KDTree

from segmenter.measure.axes import RADII_MM, fit_sphere, separate
from segmenter.refine.rays import Search, nearest_edges, sphere
from segmenter.volume.femur import Side
from segmenter.volume.geometry import Geometry, Matrix
from segmenter.volume.masks import bounding_box
from segmenter.volume.resample import covered

Vector = NDArray[np.float64]
FloatVolume = NDArray[np.float32]

NECK_COSINE = 0.3  # rays nearer than that to the way to the shaft leave the head through the neck
FADE = 0.2  # cosines over which head and neck go over into each other
UNDER_MM = (2.5, 8.0)  # below the surface found so far
BRIGHTER_HU = 150.0  # than the head's own bone: that is its shell, or farther out than SHELL_MM the roof
SHELL_MM = 0.5
NO_WAY = 0.6  # of a ball's radius: nearer to the middle of the bone than that, nothing of it lies beside the ball
LATERAL = 0.1  # cosine of the way from the head to the middle of the bone with the patient's side
OWN_SHELL_MM = (6.0, 4.0, 3.0, 2.0, 2.0)  # how near to the sphere the outline must lie to count, round by round
CANDIDATE_SHARE = 0.7  # of the largest ball's radius
SURFACE = 0.5  # share at the bone's surface
ROUNDS = (Search(2.5, 3.5, 2.0),) * 2 + (Search(1.75, 2.0, 1.2),) * 4
STIFF, ROUND = 2.0, 0.3  # weight of even bending and of the sphere, against 1 of an edge surely seen
SURE = 0.3  # edges to fit the sphere to
MIN_AGREED, ON_MM = 0.25, 0.75  # share of the rays with such an edge so near the sphere: less is no head
MIN_ON = 0.65  # of the edges: where many lie elsewhere, it is another sphere, or none
RECOGNISED_LOST, RECOGNISED_MISSING = 0.25, 0.2  # for a head to be there, wherever the outline of it may end
ROUND_MM = 1.5  # so near to one sphere lies the outline of a round head
MAX_LOST = 0.1  # of what the network found: it rarely claims too much
MIN_RAYS, MIN_OWN = 150, 80  # with an edge; at the outline found before
MAX_MOVED = 0.6  # of the radius, from the ball that was begun with
METAL_HU = 2500.0
BAND_MM = 6.0


@dataclass(frozen=True, eq=False)
class Start:
    """A ball in the bone that may be in its head: centre LPS mm, radius mm, unit vector to the middle of the bone."""

    centre: Vector
    radius: float
    away: Vector


@dataclass(frozen=True, eq=False)
class HeadSurface:
    """A head as distances `(rays,)`, mm, from its `centre` (LPS mm); `away`: unit vector from there to the shaft.

    radius: of the sphere through what is seen, mm. agreed: share of the rays, but those of the neck and those that
    leave the scan, with an edge on that sphere. on: share of the edges that lie on it. lost: share of the head found
    before that lies outside. missing: share of the head that had not been found.
    """

    centre: Vector
    away: Vector
    reach: NDArray[np.float64]
    radius: float
    agreed: float
    on: float
    lost: float
    missing: float

    @property
    def plausible(self) -> bool:
        """Whether the outline may end at it."""
        seen = self.agreed >= MIN_AGREED and self.on >= MIN_ON and self.lost <= MAX_LOST
        return seen and RADII_MM[0] <= self.radius <= RADII_MM[1]

    @property
    def recognised(self) -> bool:
        """Whether there is a head at all, though perhaps not just there."""
        seen = self.agreed >= MIN_AGREED and self.on >= MIN_ON
        same = self.lost <= RECOGNISED_LOST and self.missing <= RECOGNISED_MISSING
        return seen and same and RADII_MM[0] <= self.radius <= RADII_MM[1]


def find_surface(
    volume: NDArray[np.generic],
    geometry: Geometry,
    share: FloatVolume,
    grid: Geometry,
    begins: Sequence[Start],
) -> HeadSurface | None:
    """Return the surface of the head of a femur, None where there is none to be trusted; see `possible_surfaces`."""
    found = (head for head in possible_surfaces(volume, geometry, share, grid, begins) if head.plausible)
    return max(found, key=lambda head: head.agreed, default=None)


def possible_surfaces(
    volume: NDArray[np.generic],
    geometry: Geometry,
    share: FloatVolume,
    grid: Geometry,
    begins: Sequence[Start],
) -> list[HeadSurface]:
    """Return what may be the head of a femur, from the balls in it to begin with (`starts`).

    volume: HU `(z, y, x)` on `geometry`; share: the femur so far, 0..1 with its surface at one half, on the isotropic
    `grid`.
    """
    found = [grown(volume, geometry, start, share, grid) for start in begins]
    return [head for head in found if head is not None]


def starts(geometry: Geometry, share: FloatVolume, grid: Geometry, side: Side) -> list[Start]:
    """Return the largest balls that may lie in the head of a femur; share and grid as in `possible_surfaces`.

    A round trochanter is no head: the rest of the bone lies lateral of a head.
    """
    inside = share > SURFACE
    if not inside.any():
        return []
    middle = grid.to_patient(np.argwhere(inside)).mean(axis=0)
    result = []
    for centre, radius in balls(inside, covered(geometry, grid), grid):
        way = middle - centre
        far = float(np.linalg.norm(way))
        lateral = way[0] * (1 if side is Side.LEFT else -1) / max(far, 1e-9)
        if lateral >= LATERAL or far < NO_WAY * radius:  # where only a head is seen, there is no rest beside it
            result.append(Start(centre, radius, way / max(far, 1e-9)))
    return result


def roundness(geometry: Geometry, share: FloatVolume, grid: Geometry, begins: Sequence[Start]) -> float:
    """Return which share of the outline of a head lies on one sphere, as far as the scan (`geometry`) holds it.

    0 where there is no head to begin with. It takes a tenth of the time of a search for edges in the scan.
    """
    found = 0.0
    for start in begins:
        own = own_edge(share, grid, start.centre, start.radius)
        middle, size = own_sphere(start, own, geometry)
        rays = sphere().rays
        points = start.centre + rays * own[:, None]
        index = geometry.to_index(points)
        free = ((index > 0.5) & (index < np.array(geometry.shape) - 1.5)).all(axis=1)
        free &= rays @ start.away < NECK_COSINE
        if np.count_nonzero(free) >= MIN_RAYS and RADII_MM[0] <= size <= RADII_MM[1]:
            on = np.abs(np.linalg.norm(points[free] - middle, axis=1) - size) < ROUND_MM
            found = max(found, float(on.mean()))
    return found


def balls(inside: NDArray[np.bool_], seen: NDArray[np.bool_], grid: Geometry) -> list[tuple[Vector, float]]:
    """Return centre and radius of the largest balls that fit into the bone, apart from each other, LPS mm.

    inside, seen: the bone and what the scan holds, `(z, y, x)` on `grid`. Where a scan cuts a bone a ball may go on.
    """
    box = bounding_box(inside, margin=1)
    depth = ndimage.distance_transform_edt(inside[box] | ~seen[box]) * grid.spacing[0]
    depth *= inside[box] & seen[box]
    index = np.argwhere(depth > CANDIDATE_SHARE * depth.max())
    radii = depth[tuple(index.T)]
    centres = grid.to_patient(index + [at.start for at in box])
    return separate(centres, radii)


def own_edge(share: FloatVolume, grid: Geometry, centre: Vector, radius: float) -> NDArray[np.float64]:
    """Return how far the femur found so far reaches along every ray from the middle of its head, mm."""
    at = np.arange(0.4 * radius, radius + BAND_MM, 0.5)
    index = np.moveaxis(grid.to_index(centre + at[:, None] * sphere().rays[:, None]), -1, 0)
    outside = ndimage.map_coordinates(share, index, np.float32, order=1, mode="constant") < SURFACE
    first: NDArray[np.float64] = at[np.where(outside.any(axis=1), outside.argmax(axis=1), len(at) - 1)]
    return first


def bone_level(
    volume: NDArray[np.generic], geometry: Geometry, centre: Vector, own: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the HU of the head's own bone along every ray, under its surface."""
    at = np.maximum(own[:, None] - np.arange(*UNDER_MM, 0.5), 0)
    index = np.moveaxis(geometry.to_index(centre + at[..., None] * sphere().rays[:, None]), -1, 0)
    level: NDArray[np.float64] = np.median(ndimage.map_coordinates(volume, index, np.float32, order=1), axis=1)
    return level


def own_sphere(start: Start, own: NDArray[np.float64], geometry: Geometry) -> tuple[Vector, float]:
    """Return the sphere that the femur found so far lies on about a ball in it."""
    rays = sphere().rays
    points = start.centre + rays * own[:, None]
    index = geometry.to_index(points)
    free = ((index > 0.5) & (index < np.array(geometry.shape) - 1.5)).all(axis=1) & (rays @ start.away < NECK_COSINE)
    centre, radius = start.centre, start.radius
    for shell in OWN_SHELL_MM:
        near = free & (np.abs(np.linalg.norm(points - centre, axis=1) - radius) < shell)
        if np.count_nonzero(near) < MIN_OWN:
            break
        centre, radius = fit_sphere(points[near])
    return centre, radius


def grown(
    volume: NDArray[np.generic], geometry: Geometry, start: Start, share: FloatVolume, grid: Geometry
) -> HeadSurface | None:
    """Return the surface that a sphere about the head is drawn to; None where too little of one is seen."""
    rays, bending = sphere().rays, sphere().bending
    own = own_edge(share, grid, start.centre, start.radius)
    middle, size = own_sphere(start, own, geometry)
    if np.linalg.norm(middle - start.centre) > MAX_MOVED * start.radius:
        return None
    centre, away = middle, start.away
    own = own_edge(share, grid, centre, size)
    head = rays @ away < NECK_COSINE
    level = bone_level(volume, geometry, centre, own) + BRIGHTER_HU
    for search in ROUNDS:
        ideal = to_sphere(centre, rays, middle, size)
        feet = centre + rays * ideal[:, None]
        wall = (own + SHELL_MM - ideal, level)
        edges = nearest_edges(volume, geometry, feet, rays, search, wall)
        sure = edges.sure * head
        used = sure > SURE
        if np.count_nonzero(used) < MIN_RAYS:
            return None
        points = (feet + edges.at[:, None] * rays)[used]
        middle, size = robust_sphere(points)
        if np.linalg.norm(middle - centre) > MAX_MOVED * size:
            return None
    final = to_sphere(centre, rays, middle, size)
    system = sparse.csc_array(sparse.diags_array(sure + ROUND) + STIFF * bending)
    reach = final + spsolve(system, sure * (ideal + edges.at - final))
    on = int(np.count_nonzero(np.abs(np.linalg.norm(points - middle, axis=1) - size) < ON_MM))
    agreed = on / max(int(np.count_nonzero(head & edges.seen)), 1)
    inside = head & edges.seen
    kept, whole, joint = (float((r[inside] ** 3).sum()) for r in (np.minimum(own, reach), own, np.maximum(own, reach)))
    return HeadSurface(centre, away, reach, size, agreed, on / len(points), 1 - kept / whole, 1 - whole / joint)


def robust_sphere(points: Matrix) -> tuple[Vector, float]:
    """Return centre and radius of the sphere that most of the points lie on."""
    used = np.ones(len(points), bool)
    for _ in range(4):
        centre, radius = fit_sphere(points[used])
        off = np.abs(np.linalg.norm(points - centre, axis=1) - radius)
        used = off < max(1.0, 2 * float(np.median(off)))
    return centre, radius


def to_sphere(origin: Vector, rays: Matrix, centre: Vector, radius: float) -> NDArray[np.float64]:
    """Return how far it is along rays `(n, 3)` from a point within a sphere to its surface."""
    offset = origin - centre
    along = rays @ offset
    reach: NDArray[np.float64] = np.sqrt(np.maximum(along**2 - offset @ offset + radius**2, 0)) - along
    return reach


def with_head(share: FloatVolume, grid: Geometry, head: HeadSurface) -> FloatVolume:
    """Return a femur, 0..1 `(z, y, x)` with its surface at one half, whose head ends at the surface found for it."""
    margin = float(head.reach.max()) + BAND_MM
    corners = grid.to_index(np.stack([head.centre - margin, head.centre + margin]))
    low = np.maximum(np.floor(corners.min(axis=0)).astype(int), 0)
    high = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 1, grid.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    index = np.stack(np.meshgrid(*(np.arange(at.start, at.stop) for at in box), indexing="ij"), axis=-1)
    offset = grid.to_patient(index) - head.centre
    far = np.maximum(np.linalg.norm(offset, axis=-1), 1e-6)
    cosine = (offset @ head.away) / far
    weight = np.clip((NECK_COSINE - cosine) / FADE, 0, 1)
    near = (weight > 0) & (far < margin) & (far > head.reach.min() - BAND_MM)
    gap, ray = KDTree(sphere().rays).query((offset / far[..., None])[near], k=3)
    closeness = 1 / np.maximum(gap, 1e-6)
    reach = np.full(far.shape, head.radius)
    reach[near] = (head.reach[ray] * closeness).sum(axis=1) / closeness.sum(axis=1)
    own = np.clip(0.5 + (reach - far) / BAND_MM, 0, 1)
    weight = np.where(far < margin, weight, 0)
    result = share.copy()
    result[box] += (weight * (own - result[box])).astype(np.float32)
    return result


def metal_share(volume: NDArray[np.generic], geometry: Geometry, head: HeadSurface) -> float:
    """Return how much of the radii of the head is too bright for bone, 0..1."""
    points = head.centre + sphere(2).rays[:, None] * np.linspace(0, head.radius, 12)[:, None]
    index = np.moveaxis(geometry.to_index(points), -1, 0)
    hu = ndimage.map_coordinates(volume, index, np.float32, order=1, mode="nearest")
    return float((hu > METAL_HU).mean())
