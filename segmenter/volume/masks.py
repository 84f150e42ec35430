"""Operations on masks: the largest body, its holes, its bounding box."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def clean(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest connected body with its holes filled, also a marrow cavity opened by the scan's end."""
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
    """Return the body with its enclosed holes filled."""
    pieces, _ = ndimage.label(np.pad(~body, 1, constant_values=True))
    result: NDArray[np.bool_] = (pieces != pieces.flat[0])[(slice(1, -1),) * body.ndim]
    return result
