"""Whether the scan holds the whole of a proximal femur, and if not, what is missing."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segmenter.volume.geometry import Geometry
from segmenter.volume.masks import bounding_box

MIN_LENGTH_MM = 95.0  # head to below the lesser trochanter of a small adult
MIN_LENGTH_CUT_MM = (
    115.0  # of a large one: required where the scan ends the bone, so that the trochanter is certainly included
)
BORDER_MM = 1.5  # nearer to the border of the grid than this, the bone is taken as cut by it
NO_IMAGE_HU = -1000  # outside the reconstructed circle; bone is never next to air
NO_IMAGE_MM3 = 200.0
HEAD_CUT = "head cut off by the scan"
FIELD_CUT = "cut by the field of view"


def completeness(
    mask: NDArray[np.bool_], volume: NDArray[np.generic], geometry: Geometry
) -> tuple[bool, tuple[str, ...]]:
    """Return whether the scan holds the whole proximal femur, and what it cuts off.

    mask and volume (HU): `(z, y, x)` on `geometry`. A femur may leave the scan downwards, along its shaft; wherever
    else it touches the border of the grid or of the reconstructed field, it is cut.
    """
    reasons, ends_below = [], False
    for axis in range(3):
        outward = geometry.normals[axis]  # of the border's plane; the grid may be sheared
        slab = max(1, round(BORDER_MM / geometry.distances[axis]))
        planes = np.moveaxis(mask, axis, 0)
        for border, sign in ((planes[:slab], -1.0), (planes[-slab:], 1.0)):
            up = sign * outward[2]
            if not border.any():
                continue
            ends_below |= up <= -0.7
            if up > -0.7:
                reasons.append(HEAD_CUT if up > 0.7 else FIELD_CUT)
    if _voxels_without_image(mask, volume) * geometry.voxel_volume_mm3 > NO_IMAGE_MM3:
        reasons.append(FIELD_CUT)
    if _length(mask, geometry) < (MIN_LENGTH_CUT_MM if ends_below else MIN_LENGTH_MM):
        reasons.append("scan ends above or at the lesser trochanter")
    return not reasons, tuple(dict.fromkeys(reasons))


def _voxels_without_image(mask: NDArray[np.bool_], volume: NDArray[np.generic]) -> int:
    """Return the number of voxels within two voxels of the femur that lie outside the image."""
    box = bounding_box(mask, margin=2)
    near = ndimage.binary_dilation(mask[box], iterations=2) & ~mask[box]
    return int((volume[box][near] <= NO_IMAGE_HU).sum())


def _length(mask: NDArray[np.bool_], geometry: Geometry) -> float:
    """Return the femur's extent along its own longest axis, mm; so that a flexed leg is not measured shorter."""
    box = bounding_box(mask)
    index = np.argwhere(mask[box]).astype(np.float32)
    if len(index) < 2:
        return 0.0
    to_mm = geometry.affine[:3, :3]
    axes = np.linalg.svd(to_mm @ np.cov(index.T) @ to_mm.T)[0]
    return float(np.ptp(index @ (axes[:, 0] @ to_mm).astype(np.float32)))
