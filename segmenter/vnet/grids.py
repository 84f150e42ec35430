"""The input grids of the two networks; training and inference use the same."""

import numpy as np
from numpy.typing import NDArray

COARSE_MM = 4.0  # of the coarse network: the whole scan
FINE_MM = 1.5  # of the fine network: one hip
FINE_MARGIN_MM = 21.0  # soft tissue kept around the coarse femur
HU_LOW, HU_HIGH = -200.0, 1300.0


def normalise(hu: NDArray[np.float32]) -> NDArray[np.float32]:
    """Map the range between fat and dense cortex to -1..1 and clip what lies beyond."""
    scaled: NDArray[np.float32] = ((np.clip(hu, HU_LOW, HU_HIGH) - HU_LOW) * (2 / (HU_HIGH - HU_LOW)) - 1).astype(
        np.float32
    )
    return scaled
