"""A proximal femur as the rest of the system sees it: side, mask, and whether the scan holds all of it."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segmenter.geometry import Geometry

MIN_LENGTH_MM = 95.0  # head to below the lesser trochanter of a small adult
MIN_LENGTH_CUT_MM = 115.0  # of a large one: asked for where the scan ends the bone, so that the trochanter is surely in
BORDER_MM = 1.5  # nearer to the border of the grid than this, the bone is taken as cut by it
NO_IMAGE_HU = -1000  # beyond the reconstructed circle; bone never lies so near to air
NO_IMAGE_MM3 = 200.0
HEAD_CUT = "head cut off by the scan"
FIELD_CUT = "cut by the field of view"


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
    result = np.zeros(mask.shape, bool)
    if count:
        largest = pieces == np.bincount(pieces.ravel())[1:].argmax() + 1
        box = bounding_box(largest)
        body = largest[box]
        for axis, (at, size) in enumerate(zip(box, mask.shape, strict=True)):
            planes = np.moveaxis(body, axis, 0)
            for border in [0] * (at.start == 0) + [-1] * (at.stop == size):
                planes[border] = _filled(planes[border])
        result[box] = _filled(body)
    return result


def bounding_box(mask: NDArray[np.bool_], margin: int = 0) -> tuple[slice, ...]:
    """Return the smallest box around a mask that is not empty, `margin` voxels wider where the array allows it."""
    ranges = []
    for axis, size in enumerate(mask.shape):
        filled = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        ranges.append(slice(max(int(filled[0]) - margin, 0), min(int(filled[-1]) + 1 + margin, size)))
    return tuple(ranges)


def _filled(body: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the body with what it encloses: all that cannot be reached from outside the array."""
    pieces, _ = ndimage.label(np.pad(~body, 1, constant_values=True))
    result: NDArray[np.bool_] = (pieces != pieces.flat[0])[(slice(1, -1),) * body.ndim]
    return result


def completeness(
    mask: NDArray[np.bool_], volume: NDArray[np.generic], geometry: Geometry
) -> tuple[bool, tuple[str, ...]]:
    """Tell whether the scan holds the whole proximal femur, and what it cuts off.

    mask and volume (HU): `(z, y, x)` on `geometry`. A femur may leave the scan downwards, along its shaft; wherever
    else it touches the border of the grid, or what is no image, it is cut.
    """
    reasons, ends_below = [], False
    for axis in range(3):
        outward = geometry.normals[axis]  # of the border's plane; the slices may be stacked askew
        slab = max(1, round(BORDER_MM / geometry.distances[axis]))
        planes = np.moveaxis(mask, axis, 0)
        for border, sign in ((planes[:slab], -1.0), (planes[-slab:], 1.0)):
            up = sign * outward[2]
            if not border.any():
                continue
            ends_below |= up <= -0.7
            if up > -0.7:
                reasons.append(HEAD_CUT if up > 0.7 else FIELD_CUT)
    if _beside_nothing(mask, volume) * geometry.voxel_volume_mm3 > NO_IMAGE_MM3:
        reasons.append(FIELD_CUT)
    if _length(mask, geometry) < (MIN_LENGTH_CUT_MM if ends_below else MIN_LENGTH_MM):
        reasons.append("scan ends above or at the lesser trochanter")
    return not reasons, tuple(dict.fromkeys(reasons))


def _beside_nothing(mask: NDArray[np.bool_], volume: NDArray[np.generic]) -> int:
    """Count the voxels within two of the femur that hold no image."""
    box = bounding_box(mask, margin=2)
    near = ndimage.binary_dilation(mask[box], iterations=2) & ~mask[box]
    return int((volume[box][near] <= NO_IMAGE_HU).sum())


def _length(mask: NDArray[np.bool_], geometry: Geometry) -> float:
    """Return the femur's extent along its own longest axis, mm; a flexed leg is no shorter."""
    box = bounding_box(mask)
    points = geometry.to_patient(np.argwhere(mask[box]) + [at.start for at in box])
    if len(points) < 2:
        return 0.0
    axes = np.linalg.svd(np.cov((points - points.mean(axis=0)).T))[0]
    return float(np.ptp(points @ axes[:, 0]))
