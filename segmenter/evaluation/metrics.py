"""The measures of one femur against its truth, and of a whole case."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmenter.evaluation.surface import surface_distances
from segmenter.volume.femur import Femur, Side
from segmenter.volume.geometry import Geometry

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class FemurScore:
    """One femur with a known truth.

    Dice, sensitivity and specificity have no unit. Specificity is that of the whole scan, as in the paper: nearly all
    of a scan is not femur, so it is close to 1 for any result. Volumes in mL, distances on the native grid in mm. A
    missed femur has Dice and sensitivity 0 and infinite distances.
    """

    side: Side
    dice: float
    sensitivity: float
    specificity: float
    volume_ml: float
    truth_ml: float
    assd_mm: float
    hd95_mm: float
    missed: bool


@dataclass(frozen=True)
class CaseScore:
    """The measures of a case.

    side_errors: femurs found on the other side's truth. unjudged: femurs that overlap no truth.
    """

    femurs: tuple[FemurScore, ...]
    side_errors: int
    unjudged: int


def score_case(found: Sequence[Femur], truth: Mapping[Side, Mask], geometry: Geometry) -> CaseScore:
    """Compare the femurs found in a scan with the true ones; every true femur gets a score, found or not."""
    masks = {femur.side: femur.mask for femur in found}
    nothing = np.zeros(geometry.shape, bool)
    femurs = tuple(score_femur(side, masks.get(side, nothing), mask, geometry) for side, mask in truth.items())
    places = [_place(femur, truth) for femur in found]
    wrong = sum(place not in (None, femur.side) for place, femur in zip(places, found, strict=True))
    return CaseScore(femurs, wrong, places.count(None))


def _place(femur: Femur, truth: Mapping[Side, Mask]) -> Side | None:
    """Return the side whose truth the femur lies on; None if it overlaps no truth."""
    overlaps = {side: int((femur.mask & mask).sum()) for side, mask in truth.items()}
    best = max(overlaps, key=lambda side: overlaps[side])
    return best if overlaps[best] else None


def score_femur(side: Side, found: Mask, truth: Mask, geometry: Geometry) -> FemurScore:
    """Measure one mask against its truth, both `(z, y, x)` on the native grid. truth must not be empty."""
    inside, outside = int(truth.sum()), int(truth.size - truth.sum())
    hits, claimed = int((found & truth).sum()), int(found.sum())
    assd, hd95 = surface_distances(found, truth, geometry)
    millilitres = geometry.voxel_volume_mm3 / 1000
    return FemurScore(
        side=side,
        dice=2 * hits / (claimed + inside),
        sensitivity=hits / inside,
        specificity=1 - (claimed - hits) / outside if outside else 1.0,
        volume_ml=claimed * millilitres,
        truth_ml=inside * millilitres,
        assd_mm=assd,
        hd95_mm=hd95,
        missed=not claimed,
    )
