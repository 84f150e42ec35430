"""The HU of a placed phantom's rods, from the scan's own voxels, slice by slice.

Voxels are taken as they are, by their place in the patient: nothing is interpolated, so noise stays what it is, and
slices that lie obliquely or sheared are no special case.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmenter.density.placement import Placement
from segmenter.density.template import FloatArray
from segmenter.geometry import Geometry

CHUNK_MM = 20.0  # of a rod's length at a time: voxels of a tilted box around a long rod would be many
BLUR_MM = 1.0  # of a scanner's kernel: nearer to the surface, a rod mixes with what is around it
CORE = 0.7  # of the radius, where voxels are small
LEAST_CORE_MM = 1.5
AROUND = 1.6  # radii: what is looked at in all
LEAST_VOXELS = 5  # of a rod's core in a slice
STEADY_SDS, STEADY_HU = 4.0, 4.0  # a slice this far off the others is disturbed
UNEVEN = 2.0  # times the usual spread within a slice, and it is disturbed


@dataclass(frozen=True, eq=False)
class Cylinder:
    """Voxels around one axis: distance from it (mm), number of the slice, HU, each `(v,)`."""

    distance: FloatArray
    number: NDArray[np.int64]
    hu: FloatArray


@dataclass(frozen=True, eq=False)
class RodSlices:
    """One rod slice by slice, `(s,)`: mean HU of the core, spread of its voxels, and whether the slice counts."""

    mean: FloatArray
    spread: FloatArray
    good: NDArray[np.bool_]

    @cached_property
    def hu(self) -> float:
        """Mean over the slices that count."""
        return float(self.mean[self.good].mean())

    @cached_property
    def sd_hu(self) -> float:
        """Standard deviation of the core's voxels within a slice."""
        return float(np.sqrt((self.spread[self.good] ** 2).mean()))

    @property
    def slices(self) -> int:
        """How many slices count."""
        return int(self.good.sum())

    @property
    def share(self) -> float:
        """Which share of the slices that show the rod counts."""
        return self.slices / max(int(np.isfinite(self.mean).sum()), 1)

    @property
    def change_hu(self) -> float:
        """How much the HU of the rod rise or fall over the phantom's length, along a straight line."""
        at = np.flatnonzero(self.good)
        if len(at) < 3:
            return 0.0
        return float(np.polyfit(at, self.mean[at], 1)[0] * (at[-1] - at[0]))


def core_radius(geometry: Geometry, placement: Placement, radius: float) -> float:
    """Return how far from a rod's axis voxels lie wholly within it, mm; below `LEAST_CORE_MM` there are too few."""
    columns = geometry.affine[:3, :3]
    across = columns - np.outer(placement.direction, placement.direction @ columns)
    half = float(np.linalg.norm(across, axis=0).max()) / 2
    return min(CORE * radius, radius - half - BLUR_MM)


def slice_step(geometry: Geometry) -> float:
    """Return the distance of the scan's planes along the table, mm, by whichever of its axes runs along it most."""
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
    """Return which slices are like the others: a streak, a metal edge or the rod's end makes one that is not."""
    if not np.isfinite(mean).any():
        return np.zeros(len(mean), bool)
    middle = np.nanmedian(mean)
    usual = 1.4826 * np.nanmedian(np.abs(mean - middle))
    within = np.nanmedian(spread[np.isfinite(mean)])
    steady = np.abs(mean - middle) <= STEADY_SDS * usual + STEADY_HU
    result: NDArray[np.bool_] = steady & (spread <= UNEVEN * within + STEADY_HU)
    return result


def edge_radius(voxels: Cylinder, radius: float, outer: float) -> tuple[float, float]:
    """Return where a rod's mean HU falls half way to its surroundings, mm, and the contrast, HU.

    outer: mm, up to where the surroundings are looked at. The radius is NaN without a crossing.
    """
    inside = voxels.hu[voxels.distance < 0.6 * radius]
    around = voxels.hu[(voxels.distance > 1.2 * radius) & (voxels.distance < outer)]
    if not (len(inside) and len(around)):
        return np.nan, 0.0
    contrast = float(inside.mean() - np.median(around))
    width = radius / 8
    ring = (voxels.distance / width).astype(int)
    count = np.bincount(ring)
    profile = np.bincount(ring, voxels.hu) / np.maximum(count, 1)
    level = inside.mean() - contrast / 2
    beyond = np.flatnonzero((np.sign(contrast) * (profile - level) < 0) & (count > 0) & (np.arange(len(count)) >= 2))
    if not len(beyond):
        return np.nan, contrast
    after = int(beyond[0])
    share = (profile[after - 1] - level) / (profile[after - 1] - profile[after])
    return (after - 0.5 + float(share)) * width, contrast
