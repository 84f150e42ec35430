"""The findings of one run, the common content of all result objects."""

from dataclasses import dataclass

from segmenter.density.calibration import UNCALIBRATED, Calibration
from segmenter.measure.records import Measurements


@dataclass(frozen=True)
class Findings:
    """The measurements, the calibration, and warnings about the scan as a whole.

    measurements without femurs: none was found. warnings: of the series and the run; those of a femur and of
    the calibration are in their own records.
    """

    measurements: Measurements
    calibration: Calibration = UNCALIBRATED
    warnings: tuple[str, ...] = ()
