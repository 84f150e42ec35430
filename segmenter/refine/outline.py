"""What becomes of the network's outline of one femur: no holes, no separate pieces, a completed head."""

import numpy as np
from numpy.typing import NDArray

from segmenter.refine.head import find_surface, metal_share, roundness, starts, with_head
from segmenter.volume.femur import Side
from segmenter.volume.geometry import Geometry
from segmenter.volume.masks import clean

FloatVolume = NDArray[np.float32]

SURFACE = 0.5
MIN_MISSING = 0.08  # of a head, from which on it is completed: below that the network knows better than a sphere
ROUND, NEARLY_ROUND = 0.95, 0.92  # share of the outline on one sphere: nothing is missing; hardly anything may be
NEARLY_ROUND_ON = 0.8  # share of the edges on its sphere without which a nearly round head is left as it is


def completed(
    probability: FloatVolume,
    grid: Geometry,
    scan: tuple[NDArray[np.generic], Geometry],
    side: Side,
    min_missing: float = MIN_MISSING,
    body: NDArray[np.bool_] | None = None,
) -> FloatVolume:
    """Return one femur, 0..1 `(z, y, x)` on the isotropic `grid`, whole, its head round where much of it was missing.

    probability: as the network says, on `grid`; scan: HU `(z, y, x)` and their grid. min_missing: share of the head.
    body: the cleaned bone on `grid`, if it is known already.
    """
    body = clean(probability > SURFACE) if body is None else body
    if not body.any():
        return probability
    holes, strays = body & (probability <= SURFACE), ~body & (probability > SURFACE)
    share = np.where(holes, 1.0, np.where(strays, 0.0, probability)).astype(np.float32)
    begins = starts(scan[1], share, grid, side)
    is_round = roundness(scan[1], share, grid, begins) if min_missing >= MIN_MISSING else 0.0
    if is_round >= ROUND:
        return share
    head = find_surface(*scan, share, grid, begins)
    if head is None or head.missing < min_missing or metal_share(*scan, head) > 0:
        return share
    if is_round >= NEARLY_ROUND and head.on < NEARLY_ROUND_ON:
        return share
    return with_head(share, grid, head)
