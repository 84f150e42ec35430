"""Planes through the patient: position, direction, and the values on them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from segmenter.measure.records import FemurMeasurements
from segmenter.volume.femur import Femur
from segmenter.volume.geometry import Geometry

Vector = NDArray[np.float64]

MARGIN_MM = 12.0
MIN_FIELD_MM = 90.0
LAYER_MM = 2.0
MAX_TILT = 1.0  # mm backwards per mm downwards: a plane tilted more is not coronal
AIR_HU = -1024.0


@dataclass(frozen=True)
class View:
    """A direction to look along: LPS unit vectors to the image's right and down; letters left, right, above, below."""

    name: str
    right: tuple[float, float, float]
    down: tuple[float, float, float]
    letters: tuple[str, str, str, str]

    @property
    def axes(self) -> Vector:
        """Return the directions right, down and away from the viewer, `(3, 3)`."""
        return np.array([self.right, self.down, np.cross(self.right, self.down)], float)

    @property
    def depth_axis(self) -> int:
        """Return the LPS axis nearest to the viewing direction."""
        return int(np.argmax(np.abs(self.axes[2])))

    @property
    def tilt_degrees(self) -> float:
        """Return the angle between the view and the axis that it is named after."""
        return float(np.degrees(np.arccos(min(1.0, float(np.abs(self.axes[2]).max())))))


# The patient's right is on the image's left (PS3.3 C.7.6.1.1.1 has the letters).
CORONAL = View("coronal", (1.0, 0.0, 0.0), (0.0, 0.0, -1.0), ("R", "L", "H", "F"))
AXIAL = View("axial", (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), ("R", "L", "A", "P"))


@dataclass(frozen=True, eq=False)
class Frame:
    """One plane as it is drawn: centre in LPS mm, mm per pixel, size `(width, height)` in pixels."""

    view: View
    centre: Vector
    scale: float
    size: tuple[int, int]

    def grid(self, finer: int = 1) -> Vector:
        """Return the places of its pixels `(height * finer, width * finer, 3)`, LPS mm."""
        width, height = (n * finer for n in self.size)
        step = self.scale / finer
        across = (np.arange(width) - (width - 1) / 2) * step
        along = (np.arange(height) - (height - 1) / 2) * step
        right, down, _ = self.view.axes
        grid: Vector = self.centre + along[:, None, None] * down + across[None, :, None] * right
        return grid

    def project(self, point: Sequence[float] | Vector) -> tuple[float, float]:
        """Return the pixel `(x, y)` of a point in LPS mm, projected onto the plane."""
        offset = np.asarray(point, float) - self.centre
        x, y, _ = self.view.axes @ offset / self.scale
        return float(x) + (self.size[0] - 1) / 2, float(y) + (self.size[1] - 1) / 2

    def crossing(self, point: Sequence[float] | Vector, normal: Sequence[float] | Vector) -> tuple[Vector, Vector]:
        """Return a point near `point` and the direction of the line in which another plane cuts this one, LPS."""
        away, across = self.view.axes[2], np.asarray(normal, float)
        within = away - across * float(away @ across)
        reach = float((self.centre - np.asarray(point, float)) @ away) / max(float(within @ away), 1e-6)
        along = np.cross(across, away)
        return np.asarray(point, float) + within * reach, along / max(float(np.linalg.norm(along)), 1e-6)

    @property
    def title(self) -> str:
        """Return the name of the view, with its tilt if it is tilted."""
        tilt = round(self.view.tilt_degrees)
        return f"{self.view.name}, tilted {tilt} deg" if tilt else self.view.name

    @property
    def place(self) -> str:
        """Return the position of the plane as a letter of the patient's directions and mm."""
        axis = self.view.depth_axis
        value = float(self.centre[axis])
        place = f"{('R', 'A', 'F')[axis] if value < 0 else ('L', 'P', 'H')[axis]} {abs(value):.1f} mm"
        return f"{place} in the middle" if round(self.view.tilt_degrees) else place


def sampled(array: NDArray[Any], index: Vector, outside: float) -> NDArray[np.float32]:
    """Return an array `(z, y, x)` interpolated at fractional voxel indices `(..., 3)`."""
    index = np.moveaxis(index, -1, 0)
    values: NDArray[np.float32] = map_coordinates(array, index, np.float32, order=1, mode="constant", cval=outside)
    return values


@dataclass(frozen=True, eq=False)
class Cut:
    """A plane to show: its view, the centre of the field (LPS mm), and the width and height of the field, mm."""

    view: View
    centre: Vector
    field_mm: tuple[float, float]

    def scale(self, size: tuple[int, int]) -> float:
        """Return the mm per pixel at which the field fits into a panel of that size, with a margin."""
        return float((np.maximum(np.array(self.field_mm) + 2 * MARGIN_MM, MIN_FIELD_MM) / np.array(size)).max())


def cuts_through(femur: Femur, geometry: Geometry, measured: FemurMeasurements) -> tuple[Cut, Cut, Cut]:
    """Choose the planes: coronal where the mask is largest, axial through the neck and through the shaft.

    The coronal plane is tilted about the axis from right to left until it follows the femur, so that head and shaft
    are both in it, also of a bent hip. It shows all of the femur's length, an axial one what lies in it.
    """
    points = geometry.to_patient(np.argwhere(femur.mask))
    bottom, top = points[:, 2].min(), points[:, 2].max()
    upper = measured.neck.centre_mm[2] if measured.neck else _fullest(points[points[:, 2] >= (bottom + top) / 2, 2])
    depths = float(np.clip(upper, bottom, top)), float(bottom + 0.2 * (top - bottom))
    view = _along(points)
    coronal = _cut(view, points, _fullest(points @ view.axes[2]))
    thickness = max(LAYER_MM, geometry.distances[0])
    near = [points[np.abs(points[:, 2] - depth) <= thickness] for depth in depths]
    first, second = (
        _cut(AXIAL, layer if len(layer) else points, depth) for layer, depth in zip(near, depths, strict=True)
    )
    return coronal, first, second


def _along(points: Vector) -> View:
    """Return the coronal view tilted to follow the points backwards as they go down."""
    covariance = np.cov(points[:, 1:].T) if len(points) > 1 else np.zeros((2, 2))
    slope = -covariance[0, 1] / covariance[1, 1] if covariance[1, 1] > 0 else 0.0
    down = np.array([0.0, float(np.clip(slope, -MAX_TILT, MAX_TILT)), -1.0])
    _, y, z = (float(value) for value in down / np.linalg.norm(down))
    return replace(CORONAL, down=(0.0, y, z))


def _cut(view: View, points: Vector, depth_mm: float) -> Cut:
    """Return the cut at a depth along the view's axis that holds all points."""
    within = points @ view.axes.T
    low, high = within.min(axis=0), within.max(axis=0)
    middle = (low + high) / 2
    middle[2] = depth_mm
    return Cut(view, middle @ view.axes, (float(high[0] - low[0]), float(high[1] - low[1])))


def _fullest(coordinates: Vector) -> float:
    """Return the coordinate of the layer with the most voxels."""
    layers, counts = np.unique(np.rint(coordinates / LAYER_MM), return_counts=True)
    return float(layers[np.argmax(counts)] * LAYER_MM)
