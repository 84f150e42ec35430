"""Stage one: where the hips are, and whose side each is, on a coarse grid of the whole scan."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segmenter.femur import Side
from segmenter.geometry import Geometry, Matrix
from segmenter.grids import COARSE_MM, OUTSIDE_HU, box_geometry
from segmenter.resample import reduce
from segmenter.weights import Models, probabilities

MIN_PROXIMAL_ML = (
    20.0  # head, neck and trochanters of a small adult are over 100 ml; less than this is no hip worth outlining
)


class CoarseClass(IntEnum):
    """What the coarse network says of a voxel."""

    BACKGROUND = 0
    LEFT_PROXIMAL = 1
    LEFT_SHAFT = 2
    RIGHT_PROXIMAL = 3
    RIGHT_SHAFT = 4

    @classmethod
    def proximal(cls, side: Side) -> "CoarseClass":
        """Return the class of head, neck and trochanters."""
        return cls.LEFT_PROXIMAL if side is Side.LEFT else cls.RIGHT_PROXIMAL

    @classmethod
    def shaft(cls, side: Side) -> "CoarseClass":
        """Return the class of the shaft below the lesser trochanter."""
        return cls.LEFT_SHAFT if side is Side.LEFT else cls.RIGHT_SHAFT


@dataclass(frozen=True, eq=False)
class Hip:
    """One femur found on the coarse grid: bounding box `low`..`high` in LPS mm, volume of its proximal part in mL."""

    side: Side
    low: Matrix
    high: Matrix
    proximal_ml: float


def find_hips(volume: NDArray[np.generic], geometry: Geometry, models: Models) -> list[Hip]:
    """Return the hips of a scan, at most one per side, left first. volume: HU `(z, y, x)` on `geometry`."""
    corners = geometry.corners()
    coarse = box_geometry(corners.min(axis=0), corners.max(axis=0), COARSE_MM)
    classes = probabilities(models.coarse, reduce(volume, geometry, coarse, OUTSIDE_HU)).argmax(axis=0)
    return hips_of(classes, coarse)


def hips_of(classes: NDArray[np.integer], geometry: Geometry) -> list[Hip]:
    """Turn coarse classes into hips: a connected bone has one side, and only bones with a proximal part count."""
    pieces, _ = ndimage.label(classes != CoarseClass.BACKGROUND)
    litre = geometry.voxel_volume_mm3 / 1000
    found = []
    for number, box in enumerate(ndimage.find_objects(pieces), 1):
        bone = pieces[box] == number
        votes = np.bincount(classes[box][bone], minlength=len(CoarseClass)) * litre
        proximal = votes[CoarseClass.LEFT_PROXIMAL] + votes[CoarseClass.RIGHT_PROXIMAL]
        if proximal < MIN_PROXIMAL_ML:
            continue
        left = votes[CoarseClass.LEFT_PROXIMAL] + votes[CoarseClass.LEFT_SHAFT]
        side = Side.LEFT if 2 * left > votes.sum() else Side.RIGHT
        index = np.argwhere(bone) + [s.start for s in box]
        points = geometry.to_patient(index)
        found.append(Hip(side, points.min(axis=0), points.max(axis=0), float(proximal)))
    return one_per_side(found)


def one_per_side(found: list[Hip]) -> list[Hip]:
    """Keep the two largest bones; if both claim one side, the one with the greater x is the patient's left."""
    best = sorted(found, key=lambda hip: hip.proximal_ml, reverse=True)[:2]
    if len(best) == 2 and best[0].side is best[1].side:
        left, right = sorted(best, key=lambda hip: -(hip.low[0] + hip.high[0]))
        best = [
            Hip(Side.LEFT, left.low, left.high, left.proximal_ml),
            Hip(Side.RIGHT, right.low, right.high, right.proximal_ml),
        ]
    return sorted(best, key=lambda hip: hip.side is not Side.LEFT)
