"""A proximal femur as the rest of the system sees it: side, mask, and whether the scan holds all of it."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segmenter.geometry import Geometry

MIN_LENGTH_MM = 95.0  # from the top of the head to below the lesser trochanter in a small adult


class Side(StrEnum):
    """The patient's side, never the image's."""

    LEFT = "left"
    RIGHT = "right"


@dataclass(frozen=True, eq=False)
class Femur:
    """One segmented femur on the source grid.

    mask: bool `(z, y, x)`. complete: the scan holds head, neck and trochanters; if not, `reasons` say what is cut.
    """

    side: Side
    mask: NDArray[np.bool_]
    complete: bool
    reasons: tuple[str, ...] = ()


def clean(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest connected body of the mask without holes, nor a marrow cavity laid open by the scan's end."""
    pieces, count = ndimage.label(mask)
    if count > 1:
        mask = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
    closed = mask.copy()
    closed[[0, -1]] = [ndimage.binary_fill_holes(plane) for plane in mask[[0, -1]]]
    filled = ndimage.binary_fill_holes(closed)
    result: NDArray[np.bool_] = filled
    return result


def completeness(mask: NDArray[np.bool_], geometry: Geometry) -> tuple[bool, tuple[str, ...]]:
    """Tell whether the scan holds the whole proximal femur, and what it cuts off.

    A femur may leave the scan downwards, along its shaft; wherever else it touches the border of the grid it is cut.
    """
    reasons = []
    for axis in range(3):
        outward = geometry.affine[:3, axis] / geometry.spacing[axis]
        for face, sign in ((0, -1.0), (-1, 1.0)):
            up = sign * outward[2]
            if up > -0.7 and np.take(mask, face, axis=axis).any():
                reasons.append("head cut off by the scan" if up > 0.7 else "cut by the field of view")
    z = geometry.to_patient(np.argwhere(mask))[:, 2]
    if np.ptp(z) < MIN_LENGTH_MM:
        reasons.append("scan ends above or at the lesser trochanter")
    return not reasons, tuple(dict.fromkeys(reasons))
