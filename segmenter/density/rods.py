"""The HU of a placed phantom's rods, from the scan's own voxels, slice by slice.

Voxels are assigned by their position in the patient without interpolation, so noise is not changed, and oblique or
sheared slices need no special case.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmenter.density.placement import Placement
from segmenter.density.template import FloatArray
from segmenter.volume.geometry import Geometry

CHUNK_MM = 20.0  # of a rod's length at a time: the box around a long tilted rod would hold many voxels
# The core keeps this distance from the rod's surface, where the rod blurs into its surroundings; a sharp kernel changes
# HU much deeper. Otherwise the core is as large as a share of the radius, because more voxels reduce noise.
BLUR_MM, SHARP_MM = 1.5, 3.5
LEAST_CORE, MOST_CORE = 0.4, 0.75
SHARP = 0.03  # overshoot of the rods' edges from which a kernel counts as sharp
AROUND = 1.6  # radii: the region that is evaluated
LEAST_VOXELS, ENOUGH_VOXELS = 4, 6  # of a rod's core in a slice: the minimum, and the usual number
STEADY_SDS, STEADY_HU = 4.0, 4.0  # a slice that differs more from the others is disturbed
UNEVEN = 2.0  # times the usual spread within a slice: above it, the slice is disturbed


@dataclass(frozen=True, eq=False)
class Cylinder:
    """Voxels around one axis: distance from it (mm), number of the slice, HU, each `(v,)`."""

    distance: FloatArray
    number: NDArray[np.int64]
    hu: FloatArray


@dataclass(frozen=True, eq=False)
class RodSlices:
    """One rod slice by slice, `(s,)`: mean HU of the core, spread of its voxels, and whether the slice is usable."""

    mean: FloatArray
    spread: FloatArray
    good: NDArray[np.bool_]

    @cached_property
    def hu(self) -> float:
        """Mean over the usable slices."""
        return float(self.mean[self.good].mean())

    @cached_property
    def sd_hu(self) -> float:
        """Standard deviation of the core's voxels within a slice."""
        return float(np.sqrt((self.spread[self.good] ** 2).mean()))

    @property
    def slices(self) -> int:
        """Number of usable slices."""
        return int(self.good.sum())

    @property
    def share(self) -> float:
        """Share of the usable slices among those that show the rod."""
        return self.slices / max(int(np.isfinite(self.mean).sum()), 1)

    @property
    def change_hu(self) -> float:
        """Change of the rod's HU over the phantom's length, by a straight line."""
        at = np.flatnonzero(self.good)
        if len(at) < 3:
            return 0.0
        return float(np.polyfit(at, self.mean[at], 1)[0] * (at[-1] - at[0]))


def core_radius(geometry: Geometry, placement: Placement, radius: float, overshoot: float = 0.0) -> float:
    """Return how far from a rod's axis voxels lie well within it, mm; 0 where too few do for a measurement.

    overshoot: of the rods' edges, see `Edge`.
    """
    columns = geometry.affine[:3, :3]
    across = columns - np.outer(placement.direction, placement.direction @ columns)
    half = float(np.linalg.norm(across, axis=0).max()) / 2
    away = SHARP_MM if overshoot > SHARP else BLUR_MM
    core = min(max(LEAST_CORE * radius, radius - half - away), MOST_CORE * radius, radius - half - 1.0)
    voxels = np.pi * core**2 * slice_step(geometry) / geometry.voxel_volume_mm3  # in the core of a slice, about
    return core if core > 0 and voxels >= ENOUGH_VOXELS else 0.0


def slice_step(geometry: Geometry) -> float:
    """Return the distance of the scan's planes along the table, mm, of the grid axis closest to the table's."""
    return float(np.abs(geometry.affine[2, :3]).max())


def cylinder(
    volume: NDArray[Any], geometry: Geometry, placement: Placement, point: FloatArray, reach: float
) -> Cylinder:
    """Return the voxels within `reach` mm of the line through `point` (LPS mm) along the placed rods."""
    step = slice_step(geometry)
    parts = []
    count = max(1, round((placement.high_mm - placement.low_mm) / CHUNK_MM))
    edges = np.linspace(placement.low_mm, placement.high_mm, count + 1)
    for low, high in pairwise(edges):
        ends = np.array([point + height * np.array([*placement.drift, 1.0]) for height in (low, high)])
        box = np.concatenate([ends - reach, ends + reach])
        corners = np.array(np.meshgrid(*zip(box.min(axis=0), box.max(axis=0), strict=True))).reshape(3, 8).T
        index = geometry.to_index(corners)
        first = np.clip(np.floor(index.min(axis=0)).astype(int), 0, geometry.shape)
        last = np.clip(np.ceil(index.max(axis=0)).astype(int) + 1, 0, geometry.shape)
        if (last <= first).any():
            continue
        grid = np.stack(np.meshgrid(*map(np.arange, first, last), indexing="ij"), axis=-1)
        place = geometry.to_patient(grid)
        away = place - point
        distance = np.linalg.norm(away - (away @ placement.direction)[..., None] * placement.direction, axis=-1)
        near = (distance <= reach) & (place[..., 2] >= low) & (place[..., 2] < high)
        hu = volume[tuple(slice(a, b) for a, b in zip(first, last, strict=True))][near]
        number = np.rint((place[..., 2][near] - geometry.affine[2, 3]) / step).astype(np.int64)
        parts.append((distance[near], number, hu.astype(float)))
    if not parts:
        return Cylinder(np.empty(0), np.empty(0, np.int64), np.empty(0))
    return Cylinder(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def by_slice(voxels: Cylinder, core: float, numbers: NDArray[np.int64]) -> RodSlices:
    """Return a rod's slices; `numbers` `(s,)` of the slices that the phantom spans."""
    inside = (voxels.distance <= core) & (voxels.number >= numbers[0]) & (voxels.number <= numbers[-1])
    at, hu = voxels.number[inside] - numbers[0], voxels.hu[inside]
    count = np.bincount(at, minlength=len(numbers))
    total = np.bincount(at, hu, len(numbers))
    full = count >= max(LEAST_VOXELS, 0.5 * float(np.median(count)))
    mean = np.where(full, total / np.maximum(count, 1), np.nan)
    off = hu - mean[at]
    spread = np.sqrt(np.bincount(at, off**2, len(numbers)) / np.maximum(count - 1, 1))
    return RodSlices(mean, spread, _undisturbed(mean, spread))


def _undisturbed(mean: FloatArray, spread: FloatArray) -> NDArray[np.bool_]:
    """Return which slices agree with the others; a streak, a metal edge or the rod's end disturbs a slice."""
    if not np.isfinite(mean).any():
        return np.zeros(len(mean), bool)
    middle = np.nanmedian(mean)
    usual = 1.4826 * np.nanmedian(np.abs(mean - middle))
    within = np.nanmedian(spread[np.isfinite(mean)])
    steady = np.abs(mean - middle) <= STEADY_SDS * usual + STEADY_HU
    result: NDArray[np.bool_] = steady & (spread <= UNEVEN * within + STEADY_HU)
    return result


@dataclass(frozen=True)
class Edge:
    """The edge of a rod. radius: where HU are half way to the surroundings, mm, NaN if nowhere.

    contrast: inside minus surroundings, HU. overshoot: rise of HU just inside the edge, as a share of the contrast.
    """

    radius: float
    contrast: float
    overshoot: float


def find_edge(voxels: Cylinder, radius: float, outer: float) -> Edge:
    """Return the edge of a rod of about this radius; outer: mm, up to where the surroundings are looked at."""
    inside = voxels.hu[voxels.distance < 0.5 * radius]
    around = voxels.hu[(voxels.distance > 1.2 * radius) & (voxels.distance < outer)]
    if not (len(inside) and len(around)):
        return Edge(np.nan, 0.0, 0.0)
    middle = float(inside.mean())
    contrast = middle - float(np.median(around))
    width = radius / 8
    ring = (voxels.distance / width).astype(int)
    count = np.bincount(ring)
    profile = np.bincount(ring, voxels.hu) / np.maximum(count, 1)
    beyond = np.flatnonzero((np.sign(contrast) * (profile - middle + contrast / 2) < 0) & (count > 0))
    beyond = beyond[beyond >= 2]
    if not len(beyond) or contrast == 0:
        return Edge(np.nan, contrast, 0.0)
    after = int(beyond[0])
    share = (profile[after - 1] - middle + contrast / 2) / (profile[after - 1] - profile[after])
    rim = (profile[(count > 0) & (np.arange(len(count)) >= 4)][:5] - middle) / contrast
    return Edge((after - 0.5 + float(share)) * width, contrast, float(rim.max()))
