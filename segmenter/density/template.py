"""A phantom to search for: rods in a row, and the line that their HU must fit."""

from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from segmenter.density.calibration_line import Line, fit_line, line_in_tissue
from segmenter.density.settings import PhantomSettings

SLOPE_HU_PER_MG_CM3 = (0.7, 2.4)  # of both materials, from 150 kV down to 70 kV
INTERCEPT_HU = 60.0  # from water: any water-equivalent material without mineral lies within
LEAST_R2 = 0.90  # below it the rods do not fit a line
FloatArray = NDArray[np.float64]
Number = TypeVar("Number", float, FloatArray)


@dataclass(frozen=True, eq=False)
class Template:
    """Rods of one radius in a row. offsets: along the row from its middle, mm; densities, waters: mg/cm3, `(n,)`.

    waters are zeros if the certificate has none: then HU itself is fitted.
    """

    settings: PhantomSettings
    offsets: FloatArray
    densities: FloatArray
    waters: FloatArray
    radius: float

    @classmethod
    def of(cls, settings: PhantomSettings) -> "Template":
        """Return the template of a phantom in the settings."""
        return cls(
            settings,
            np.array(settings.offsets_mm),
            np.array([rod.density_mg_cm3 for rod in settings.rods]),
            np.array([rod.water_mg_cm3 or 0.0 for rod in settings.rods]),
            settings.rod_diameter_mm / 2,
        )

    @property
    def count(self) -> int:
        """How many rods."""
        return len(self.offsets)

    @property
    def gap(self) -> float:
        """The narrowest distance between two rods' surfaces, mm."""
        return float(np.diff(self.offsets).min()) - 2 * self.radius

    @cached_property
    def mirrored(self) -> "Template":
        """The same phantom with its other end first."""
        return Template(self.settings, -self.offsets[::-1], self.densities[::-1], self.waters[::-1], self.radius)

    def fit(self, hu: FloatArray, used: NDArray[np.bool_] | None = None) -> Line:
        """Return the line for tissue through the rods' HU `(n,)`; r2 is that of the fit to the rods."""
        kept = np.ones(self.count, bool) if used is None else used
        line = fit_line(self.densities[kept], (hu - self.waters)[kept])
        if not self.waters.any():
            return line
        return Line(*line_in_tissue(line.slope, line.intercept), line.r2)

    def expected(self, line: Line) -> FloatArray:
        """Return the HU `(n,)` that a line for tissue gives the rods."""
        if not self.waters.any():
            result: FloatArray = line.slope * self.densities + line.intercept
            return result
        slope, intercept = np.subtract((line.slope, line.intercept), line_in_tissue(0.0, 0.0))
        with_water: FloatArray = self.waters + slope * self.densities + intercept
        return with_water

    def possible(self, slope: FloatArray, intercept: FloatArray, r2: FloatArray) -> NDArray[np.bool_]:
        """Return which fits of `fit_line` to HU minus water are plausible."""
        if self.waters.any():
            slope, intercept = line_in_tissue(slope, intercept)
        return plausible(slope, intercept, r2)


def plausible(slope: Number, intercept: Number, r2: Number) -> NDArray[np.bool_]:
    """Return which lines for tissue are plausible for a scanner."""
    low, high = SLOPE_HU_PER_MG_CM3
    result: NDArray[np.bool_] = np.asarray(
        (slope >= low) & (slope <= high) & (np.abs(intercept) <= INTERCEPT_HU) & (r2 >= LEAST_R2)
    )
    return result
