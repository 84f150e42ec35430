"""The coarse stage: find the hips and their sides on a coarse grid of the whole scan."""

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segmenter.vnet.grids import COARSE_MM
from segmenter.vnet.network import probabilities
from segmenter.vnet.weights import Models
from segmenter.volume.femur import Side
from segmenter.volume.geometry import Geometry, Matrix, box_geometry
from segmenter.volume.resample import OUTSIDE_HU, covered, reduce

MIN_HEIGHT_MM = 256.0  # the network's receptive field: a lower grid, whose borders all voxels see, misleads it
NARROW_MM = 200.0  # a field of view that holds little but the hip looks like a limb in air
AROUND_MM = 60.0  # to which its borders are continued
APART_MM = 90.0  # between the middles of the two femurs of one patient, at least
MIN_PIECE_ML = 4.0  # smaller pieces are noise
MIN_PROXIMAL_ML = 10.0  # head, neck and trochanters of a small adult have over 100 ml; smaller pieces are not segmented
SURE_ML, MIN_SHARE = (
    40.0,
    0.2,
)  # less than both is a remnant at the end of a shaft, at a prosthesis stem or cut by the scan


class CoarseClass(IntEnum):
    """The classes of the coarse network."""

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
    """One femur found on the coarse grid: bounding box `low`..`high` in LPS mm, volume of its parts in mL."""

    side: Side
    low: Matrix
    high: Matrix
    proximal_ml: float
    shaft_ml: float = 0.0

    @property
    def counts(self) -> bool:
        """Whether enough of a proximal femur was found."""
        sure = self.proximal_ml >= min(SURE_ML, MIN_SHARE * (self.proximal_ml + self.shaft_ml))
        return sure and self.proximal_ml >= MIN_PROXIMAL_ML


@dataclass(frozen=True, eq=False)
class CoarseView:
    """A scan as the coarse network sees it: HU `(z, y, x)` on `grid`, probabilities of the classes `(5, z, y, x)`."""

    grid: Geometry
    hu: NDArray[np.float32]
    probability: NDArray[np.float32]


def coarse_view(volume: NDArray[np.generic], geometry: Geometry, models: Models) -> CoarseView:
    """Return the view of a whole scan, air around it. volume: HU `(z, y, x)` on `geometry`."""
    low, high = _extent(geometry)
    beyond = max(0.0, MIN_HEIGHT_MM - (high - low)[2]) / 2 * np.array([0.0, 0.0, 1.0])
    grid = box_geometry(low - beyond, high + beyond, COARSE_MM)
    hu = reduce(volume, geometry, grid, OUTSIDE_HU)
    return CoarseView(grid, hu, probabilities(models.coarse, hu))


def find_hips(
    volume: NDArray[np.generic], geometry: Geometry, models: Models, coarse: CoarseView | None = None
) -> list[Hip]:
    """Return the hips of a scan, at most one per side, left first.

    volume: HU `(z, y, x)` on `geometry`; coarse: its coarse view, if there is one already. Where a narrow field of view
    shows no hip it is looked at again, its borders continued instead of air around it.
    """
    coarse = coarse or coarse_view(volume, geometry, models)
    hips = hips_of(coarse.probability.argmax(axis=0), coarse.grid)
    low, high = _extent(geometry)
    if hips or min((high - low)[:2]) > NARROW_MM:
        return hips
    beyond = np.array([AROUND_MM, AROUND_MM, max(0.0, MIN_HEIGHT_MM - (high - low)[2]) / 2])
    grid = box_geometry(low - beyond, high + beyond, COARSE_MM)
    classes = probabilities(models.coarse, reduce(volume, geometry, grid, None)).argmax(axis=0)
    return hips_of(np.where(covered(geometry, grid), classes, CoarseClass.BACKGROUND), grid)


def _extent(geometry: Geometry) -> tuple[Matrix, Matrix]:
    """Return the lowest and the highest coordinates of a grid, LPS mm."""
    corners = geometry.corners()
    return corners.min(axis=0), corners.max(axis=0)


def hips_of(classes: NDArray[np.integer], geometry: Geometry) -> list[Hip]:
    """Return the hips in a map of coarse classes: one per connected bone that has a proximal part, with one side."""
    pieces, _ = ndimage.label(classes != CoarseClass.BACKGROUND)
    millilitres = geometry.voxel_volume_mm3 / 1000
    found = []
    for number, box in enumerate(ndimage.find_objects(pieces), 1):
        bone = pieces[box] == number
        votes = np.bincount(classes[box][bone], minlength=len(CoarseClass)) * millilitres
        if votes.sum() < MIN_PIECE_ML:
            continue
        left = votes[CoarseClass.LEFT_PROXIMAL] + votes[CoarseClass.LEFT_SHAFT]
        side = Side.LEFT if 2 * left > votes.sum() else Side.RIGHT
        points = geometry.to_patient(np.argwhere(bone) + [s.start for s in box])
        proximal = votes[CoarseClass.LEFT_PROXIMAL] + votes[CoarseClass.RIGHT_PROXIMAL]
        found.append(Hip(side, points.min(axis=0), points.max(axis=0), float(proximal), float(votes.sum() - proximal)))
    return one_per_side([hip for hip in joined(found) if hip.counts])


def joined(pieces: list[Hip]) -> list[Hip]:
    """Join the pieces of one side that are too close to be two femurs, split by a fracture, metal or noise."""
    bones: list[Hip] = []
    for piece in sorted(pieces, key=lambda hip: hip.proximal_ml, reverse=True):
        same = (b for b in bones if b.side is piece.side and abs(_middle(b) - _middle(piece)) < APART_MM)
        bone = next(same, None)
        if bone is None:
            bones.append(piece)
            continue
        low, high = np.minimum(bone.low, piece.low), np.maximum(bone.high, piece.high)
        bones[bones.index(bone)] = Hip(
            bone.side, low, high, bone.proximal_ml + piece.proximal_ml, bone.shaft_ml + piece.shaft_ml
        )
    return bones


def one_per_side(bones: list[Hip]) -> list[Hip]:
    """Keep the largest bone of each side; if all bones have one side, the one of greater x of the two is the left."""
    ordered = sorted(bones, key=lambda hip: hip.proximal_ml, reverse=True)
    best = list({hip.side: hip for hip in reversed(ordered)}.values())
    if len(best) == 1 and len(ordered) > 1:
        right, left = sorted(ordered[:2], key=_middle)
        best = [replace(left, side=Side.LEFT), replace(right, side=Side.RIGHT)]
    return sorted(best, key=lambda hip: hip.side is not Side.LEFT)


def _middle(hip: Hip) -> float:
    return float(hip.low[0] + hip.high[0]) / 2
