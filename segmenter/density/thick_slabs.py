"""The scan as a few thick axial images along the patient's axes, which show rods along the table with little noise."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmenter.volume.geometry import Geometry, box_geometry
from segmenter.volume.resample import OUTSIDE_HU, FloatVolume, reduce

PIXEL_MM = 1.5
PLANES = 10  # of PIXEL_MM each form a block
BESIDE_FEMUR_MM = 5.0


@dataclass(frozen=True, eq=False)
class Blocks:
    """Means over 15 mm along the table. images: HU `(b, y, x)` on `grid`, an axial grid of the patient's axes.

    allowed: rows `(b, y)` behind the femurs in that block, or in front of them.
    """

    images: FloatVolume
    grid: Geometry
    allowed: NDArray[np.bool_]

    def x(self, column: NDArray[Any]) -> NDArray[np.float64]:
        """Return LPS x, mm, of columns."""
        return np.asarray(column * PIXEL_MM + self.grid.affine[0, 3], float)

    def y(self, row: NDArray[Any]) -> NDArray[np.float64]:
        """Return LPS y, mm, of rows."""
        return np.asarray(row * PIXEL_MM + self.grid.affine[1, 3], float)

    def z(self, block: NDArray[Any]) -> NDArray[np.float64]:
        """Return LPS z, mm, of the middles of blocks."""
        return np.asarray(block * self.grid.affine[2, 0] + self.grid.affine[2, 3], float)


def make_blocks(volume: NDArray[Any], geometry: Geometry, masks: Iterable[NDArray[np.bool_]]) -> Blocks:
    """Return the blocks of a scan, `volume` HU `(z, y, x)` on `geometry`, in any orientation; masks: femurs."""
    corners = geometry.corners()
    low, high = corners.min(axis=0), corners.max(axis=0)
    fine = box_geometry(low, high, PIXEL_MM)
    planes = min(PLANES, fine.shape[0])
    count = fine.shape[0] // planes
    shape = (count * planes, *fine.shape[1:])
    values = reduce(volume, geometry, Geometry(shape, fine.affine), OUTSIDE_HU)
    affine = fine.affine.copy()
    affine[2, 0] = planes * PIXEL_MM
    affine[2, 3] += (planes - 1) / 2 * PIXEL_MM
    images = values.reshape(count, planes, *shape[1:]).mean(axis=1)
    grid = Geometry((count, *shape[1:]), affine)
    bone = [geometry.to_patient(np.argwhere(mask)[::7]) for mask in masks]
    return Blocks(images, grid, _beside(np.concatenate([np.empty((0, 3)), *bone]), grid))


def _beside(bone: NDArray[np.float64], grid: Geometry) -> NDArray[np.bool_]:
    """Return the rows `(b, y)` behind and in front of the bone in each block; bone: points `(n, 3)`, LPS mm."""
    rows = grid.affine[1, 3] + PIXEL_MM * np.arange(grid.shape[1])
    allowed = np.ones(grid.shape[:2], bool)
    block = np.rint(grid.to_index(bone)[:, 0])
    for number in range(grid.shape[0]):
        y = bone[block == number, 1]
        if len(y):
            allowed[number] = (rows < y.min() - BESIDE_FEMUR_MM) | (rows > y.max() + BESIDE_FEMUR_MM)
    return allowed
