"""All that one run has to say of a scan, as every result object tells it."""

from dataclasses import dataclass

from segmenter.density.calibration import UNCALIBRATED, Calibration
from segmenter.measure.records import Measurements


@dataclass(frozen=True)
class Findings:
    """What was measured, how HU became density, and sentences about the scan as a whole.

    measurements without femurs mean that none was found. warnings: of the series and the run; those of a femur and of
    the calibration are in their own records.
    """

    measurements: Measurements
    calibration: Calibration = UNCALIBRATED
    warnings: tuple[str, ...] = ()
