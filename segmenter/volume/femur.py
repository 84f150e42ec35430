"""A segmented proximal femur: side, mask, whether all of it is in the scan, how sure it is; what was refused as one."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray


class Side(StrEnum):
    """The patient's side, never the image's."""

    LEFT = "left"
    RIGHT = "right"


class Level(StrEnum):
    """How sure a method is of an outline."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


@dataclass(frozen=True)
class Confidence:
    """How sure a method is of one outline.

    width_mm: how wide the zone is in which it leaves open where the bone ends; None for a method without that figure.
    """

    level: Level
    width_mm: float | None = None


@dataclass(frozen=True, eq=False)
class Femur:
    """One segmented femur on the source grid.

    mask: bool `(z, y, x)`. complete: the scan holds head, neck and trochanters; if not, `reasons` say what is cut.
    confidence: None from a method that does not say how sure it is.
    """

    side: Side
    mask: NDArray[np.bool_]
    complete: bool
    reasons: tuple[str, ...] = ()
    confidence: Confidence | None = None


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
