"""A segmented proximal femur: side, mask, and whether the scan holds all of it; and what was refused as one."""

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


@dataclass(frozen=True)
class Refusal:
    """A bone that was outlined but is not claimed to be a proximal femur; reason: what was seen, as a sentence."""

    side: Side
    reason: str

    def __str__(self) -> str:
        return f"{self.side}: {self.reason}"


@dataclass(frozen=True)
class Search:
    """The result of the search for femurs in one scan: those claimed, left first, and the outlines refused."""

    femurs: tuple[Femur, ...]
    refused: tuple[Refusal, ...] = ()
