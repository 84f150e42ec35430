"""The arithmetic of calibration lines: a fit through rods, and a line in terms of water as Mindways states it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", float, NDArray[np.float64])

# Mindways phantoms: HU - water density = sigma * density + beta holds for the rods of the reference material; for
# tissue sigma falls by the first and beta rises by the second (Mindways QCT Pro; as used by Michalski et al. 2020).
SIGMA_SHIFT, BETA_SHIFT = 0.2174, 999.6


@dataclass(frozen=True)
class Line:
    """HU = slope * density + intercept (HU per mg/cm3, HU), and its coefficient of determination."""

    slope: float
    intercept: float
    r2: float


def fit_line(x: Sequence[float] | NDArray[np.float64], y: Sequence[float] | NDArray[np.float64]) -> Line:
    """Return the least-squares line through points; at least two with different x."""
    across, up = np.asarray(x, float), np.asarray(y, float)
    dx, dy = across - across.mean(), up - up.mean()
    slope = float(dx @ dy / (dx @ dx))
    total = float(dy @ dy)
    r2 = 1.0 - float(((dy - slope * dx) ** 2).sum()) / total if total > 0 else 0.0
    return Line(slope, float(up.mean() - slope * across.mean()), r2)


def line_in_tissue(sigma: Number, beta: Number) -> tuple[Number, Number]:
    """Return slope and intercept for tissue from Mindways' sigma_ref and beta_ref."""
    return sigma - SIGMA_SHIFT, beta + BETA_SHIFT


def line_in_reference(slope: float, intercept: float) -> tuple[float, float]:
    """Return sigma_ref and beta_ref from slope and intercept for tissue; the inverse of `line_in_tissue`."""
    return slope + SIGMA_SHIFT, intercept - BETA_SHIFT
