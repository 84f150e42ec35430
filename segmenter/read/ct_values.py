"""Whether values are Hounsfield units according to their histogram, for images whose header does not say so."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmenter.errors import Reason, SegmenterError

AIR_HU = (-1023, -900)  # without the lowest value, -1024, which stands for padding, too
SOFT_HU = (-150, 120)  # fat to muscle
AIR_SHARE, SOFT_SHARE = 0.02, 0.05
DENSER_THAN_BONE_HU, DENSER_SHARE = 2000, 0.02
STEP = 7  # only every so many voxels are counted


def require_ct_values(volume: NDArray[Any]) -> None:
    """Raise SegmenterError(NOT_HU) unless a volume `(z, y, x)` has the histogram of a CT of the body.

    That is: air and soft tissue where HU have them, little between them, and hardly anything denser than bone.
    """
    values = volume.reshape(-1)[::STEP]
    air, soft = (_share(values, *limits) for limits in (AIR_HU, SOFT_HU))
    between = _share(values, AIR_HU[1], SOFT_HU[0])
    dense = float(np.mean(values > DENSER_THAN_BONE_HU))
    if air < AIR_SHARE or soft < SOFT_SHARE or between > soft or dense > DENSER_SHARE:
        raise SegmenterError(
            Reason.NOT_HU,
            "RescaleType is US (unspecified), and the values do not look like HU: "
            f"{100 * air:.0f} % lie where air is, {100 * soft:.0f} % where soft tissue is; "
            "send the original CT series, with RescaleType HU",
        )


def _share(values: NDArray[Any], low: float, high: float) -> float:
    return float(np.mean((values >= low) & (values <= high)))
