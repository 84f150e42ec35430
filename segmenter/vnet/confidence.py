"""How sure the fine network is of an outline: over how many millimetres its probabilities fall from bone to none.

The network was taught the share of each voxel inside the bone, so where it is sure they fall over little more than a
voxel. Where it is not, they fall slowly. What the measure is worth, and the limits: docs/evidence/confidence.md.
"""

import numpy as np
from numpy.typing import NDArray

from segmenter.volume.femur import Confidence, Level
from segmenter.volume.geometry import Geometry
from segmenter.volume.masks import bounding_box
from segmenter.volume.resample import covered

BLOCK = 4  # voxels along each axis, 6 mm: a piece of surface of which one width is taken
SHARE = 0.9  # of the surface is no wider than the width given
MEDIUM_MM, LOW_MM = 3.6, 4.5  # from these widths on


def confidence(
    probability: NDArray[np.float32], inside: NDArray[np.bool_], window: Geometry, scan: Geometry
) -> Confidence | None:
    """Return how sure an outline is; None if nothing of its surface lies in the scan.

    probability: of bone, and inside: what is taken as the femur, both `(z, y, x)` on `window`.
    """
    if not inside.any():
        return None
    box = bounding_box(inside, margin=BLOCK)
    width, area = zone(probability[box], inside[box], covered(scan, window)[box], window)
    if not len(width):
        return None
    order = np.argsort(width)
    share = np.cumsum(area[order]) / area.sum()
    found = float(width[order][np.searchsorted(share, SHARE)])
    return Confidence(level_of(found), round(found, 2))


def level_of(width_mm: float) -> Level:
    """Return the level of an outline whose probabilities fall over so many millimetres."""
    if width_mm >= LOW_MM:
        return Level.LOW
    return Level.MEDIUM if width_mm >= MEDIUM_MM else Level.HIGH


def zone(
    probability: NDArray[np.float32], inside: NDArray[np.bool_], seen: NDArray[np.bool_], grid: Geometry
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return width in mm and area in mm2 of the surface in every block through which it runs, both `(n,)`.

    Across a zone of width w in which p falls evenly, p (1 - p) adds up to w / 6 and the slope of p to 1. seen: the
    voxels that count.
    """
    slope = np.sqrt(sum(np.square(d) for d in np.gradient(probability, *grid.spacing)))
    doubt, area, bone, voxels = (_blocks(v * seen) for v in (probability * (1 - probability), slope, inside, seen))
    surface = (bone > 0) & (bone < voxels) & (area > 0)
    return 6 * doubt[surface] / area[surface], area[surface] * grid.voxel_volume_mm3


def _blocks(values: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return the sums over blocks of BLOCK voxels along each axis, `(n,)`."""
    padded = np.pad(values.astype(np.float32, copy=False), [(0, -size % BLOCK) for size in values.shape])
    z, y, x = (size // BLOCK for size in padded.shape)
    sums: NDArray[np.float32] = padded.reshape(z, BLOCK, y, BLOCK, x, BLOCK).sum(axis=(1, 3, 5)).ravel()
    return sums
