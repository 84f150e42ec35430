"""A segmented proximal femur: side, mask, and whether the scan holds all of it."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray


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
