"""The two grids the networks see; training and inference must agree on them to the last voxel."""

import numpy as np
from numpy.typing import NDArray

COARSE_MM = 4.0  # whole scan: where are the hips, and whose side is it
FINE_MM = 1.5  # one hip: its surface
FINE_MARGIN_MM = 21.0  # soft tissue kept around the coarse femur
HU_LOW, HU_HIGH = -200.0, 1300.0


def normalise(hu: NDArray[np.float32]) -> NDArray[np.float32]:
    """Map HU to about -1..1, the range between fat and dense cortex; what lies beyond is cut."""
    scaled: NDArray[np.float32] = ((np.clip(hu, HU_LOW, HU_HIGH) - HU_LOW) * (2 / (HU_HIGH - HU_LOW)) - 1).astype(
        np.float32
    )
    return scaled
