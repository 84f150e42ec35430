"""The calibration of a scan: the line from HU to density, its source and its material."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Material(StrEnum):
    """The substance whose attenuation a density is equivalent to; densities of the two are never mixed."""

    K2HPO4 = "K2HPO4"  # dipotassium hydrogen phosphate
    HA = "HA"  # calcium hydroxyapatite


class CalibrationMode(StrEnum):
    """The source of the line."""

    PHANTOM = "phantom"  # rods in this scan
    ASYNCHRONOUS = "asynchronous"  # a certificate of this scanner at this voltage
    NONE = "none"  # no line: HU only


@dataclass(frozen=True)
class Rod:
    """One rod of a phantom as it was measured; densities in mg/cm3, HU mean and SD over its core.

    expected_hu: by the fitted line. slices: how many were measured.
    """

    density_mg_cm3: float
    hu: float
    sd_hu: float
    slices: int
    expected_hu: float

    @property
    def residual_hu(self) -> float:
        """Measured minus expected."""
        return self.hu - self.expected_hu


@dataclass(frozen=True)
class Calibration:
    """HU = slope_hu_per_mg_cm3 * density + intercept_hu, for one equivalent material; without a line: HU only.

    phantom: model and serial as the settings name them. certificate_date: YYYY-MM-DD, empty = not given.
    warnings: sentences about checks that failed; with mode NONE the reason why there is no line.
    """

    mode: CalibrationMode
    material: Material | None = None
    slope_hu_per_mg_cm3: float | None = None
    intercept_hu: float | None = None
    r2: float | None = None
    phantom: str = ""
    serial: str = ""
    certificate_date: str = ""
    rods: tuple[Rod, ...] = ()
    warnings: tuple[str, ...] = ()
    tilt_deg: float | None = None  # between the rods and the table's axis

    @property
    def usable(self) -> bool:
        """Whether densities may be given."""
        return self.mode is not CalibrationMode.NONE

    def density(self, hu: NDArray[Any] | float) -> NDArray[np.float64]:
        """Return the density, mg/cm3 of `material`, of HU of any shape; only where `usable`."""
        assert self.slope_hu_per_mg_cm3 is not None
        assert self.intercept_hu is not None
        result: NDArray[np.float64] = (np.asarray(hu, np.float64) - self.intercept_hu) / self.slope_hu_per_mg_cm3
        return result


UNCALIBRATED = Calibration(CalibrationMode.NONE)


def uncalibrated(reason: str) -> Calibration:
    """Return a calibration without a line; reason: the sentence that says why there is none."""
    return replace(UNCALIBRATED, warnings=(reason,))
