"""The findings of one run, the common content of all result objects."""

from dataclasses import dataclass

from segmenter.density.calibration import UNCALIBRATED, Calibration
from segmenter.measure.records import Measurements
from segmenter.volume.femur import Refusal


@dataclass(frozen=True)
class Findings:
    """The measurements, the calibration, and warnings about the scan as a whole.

    measurements without femurs: none was found. warnings: of the series and the run; those of a femur and of
    the calibration are in their own records. refused: bones that were outlined but are not claimed to be femurs.
    """

    measurements: Measurements
    calibration: Calibration = UNCALIBRATED
    warnings: tuple[str, ...] = ()
    refused: tuple[Refusal, ...] = ()

    @property
    def remarks(self) -> tuple[str, ...]:
        """The refusals and the warnings as sentences."""
        return (*(f"{refusal.side}: no femur is claimed: {refusal.reason}" for refusal in self.refused), *self.warnings)
