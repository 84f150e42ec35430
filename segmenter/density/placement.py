"""The position of a phantom: straight parallel rods, fitted to where the scan is most uniform in them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize

from segmenter.density.template import FloatArray, Template
from segmenter.density.thick_slabs import PIXEL_MM, Blocks

SAMPLES = ((0.3, 6), (0.6, 10), (0.85, 14), (1.0, 18))  # of a rod's radius, points on that circle


@dataclass(frozen=True, eq=False)
class Placement:
    """Straight parallel rods: the row's middle at height z is (x, y) = middle + z * drift (LPS mm).

    turn_deg: of the row about the table's axis. scale: of the spacing. flipped: the settings' last rod lies at the
    lowest x. low_mm, high_mm: the heights between which it was seen.
    """

    middle: FloatArray
    drift: FloatArray
    turn_deg: float
    scale: float
    flipped: bool
    low_mm: float
    high_mm: float

    @property
    def tilt_deg(self) -> float:
        """Angle between the rods and the table's axis (the patient's z)."""
        return float(np.degrees(np.arctan(np.hypot(*self.drift))))

    @property
    def direction(self) -> FloatArray:
        """Unit vector along the rods, LPS."""
        along = np.array([*self.drift, 1.0])
        unit: FloatArray = along / np.linalg.norm(along)
        return unit

    def axes(self, template: Template, extra: Sequence[float] | FloatArray = ()) -> FloatArray:
        """Return points `(n, 3)` of every rod's axis at height 0, LPS mm; of `extra` offsets along the row instead."""
        offsets = np.asarray(extra if len(extra) else self.form(template).offsets)
        turn = np.radians(self.turn_deg)
        row = np.array([np.cos(turn), np.sin(turn), 0.0])
        row -= (row @ self.direction) * self.direction  # a tilt does not change the distance between rods
        points = np.array([*self.middle, 0.0]) + self.scale * np.outer(offsets, row / np.linalg.norm(row))
        level: FloatArray = points - points[:, 2:] * np.array([*self.drift, 1.0])
        return level

    def form(self, template: Template) -> Template:
        """Return the phantom with the end at the lowest x first."""
        return template.mirrored if self.flipped else template


def settle(placement: Placement, blocks: Blocks, template: Template, spare: bool = False) -> Placement:
    """Return the placement at which the discs of the rods' full width are most uniform, over all blocks at once.

    spare: without the least uniform rod, which hides an air bubble or lies under a streak.
    """
    start = np.array([*placement.middle, *placement.drift, placement.turn_deg, placement.scale])
    middle_z = (placement.low_mm + placement.high_mm) / 2
    start[:2] += middle_z * start[2:4]  # turn about the middle: place and tilt then hardly depend on each other
    steps = np.array([2.0, 2.0, 0.02, 0.02, 2.0, 0.02])
    blocks_in = [n for n in range(blocks.grid.shape[0]) if placement.low_mm < blocks.z(np.array(n)) < placement.high_mm]
    pattern = _pattern(template.radius)

    def moved(change: FloatArray) -> Placement:
        at = start + change * steps
        tilted = at[:2] - middle_z * at[2:4]
        return Placement(
            tilted, at[2:4], float(at[4]), float(at[5]), placement.flipped, placement.low_mm, placement.high_mm
        )

    def unevenness(change: FloatArray) -> float:
        spread = _spread(moved(change), blocks, blocks_in, template, pattern)
        return float(np.sort(spread.mean(axis=0))[:-1].mean() if spare else spread.mean())

    simplex = np.vstack([np.zeros(6), np.eye(6)])
    options = {"initial_simplex": simplex, "maxfev": 600, "xatol": 0.02, "fatol": 0.01}
    found = optimize.minimize(unevenness, np.zeros(6), method="Nelder-Mead", options=options)
    return moved(found.x)


def _pattern(radius: float) -> FloatArray:
    """Return points `(m, 2)` of a disc, mm from its middle."""
    rings = [(share, 2 * np.pi * np.arange(count) / count) for share, count in SAMPLES]
    points = [radius * share * np.stack([np.cos(angle), np.sin(angle)], axis=1) for share, angle in rings]
    return np.concatenate(points)


def _spread(
    placement: Placement, blocks: Blocks, blocks_in: Sequence[int], template: Template, pattern: FloatArray
) -> NDArray[np.float32]:
    """Return the standard deviation of HU in the disc of each rod in each block, `(b, n)`."""
    axes = placement.axes(template)
    heights = blocks.z(np.array(blocks_in))
    centres = axes[None, :, :2] + heights[:, None, None] * placement.drift
    points = centres[:, :, None] + pattern
    columns = (points[..., 0] - blocks.grid.affine[0, 3]) / PIXEL_MM
    rows = (points[..., 1] - blocks.grid.affine[1, 3]) / PIXEL_MM
    planes = np.broadcast_to(np.array(blocks_in, float)[:, None, None], rows.shape)
    hu: NDArray[np.float32] = ndimage.map_coordinates(blocks.images, (planes, rows, columns), order=1, mode="nearest")
    spread: NDArray[np.float32] = hu.std(axis=-1)
    return spread
