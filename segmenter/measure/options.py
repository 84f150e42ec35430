"""The settings of the measurements, with units in their names."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class TotalRule(StrEnum):
    """Where the total proximal femur ends."""

    TROCHANTER = "trochanter"  # so far below the tip of the lesser trochanter; where none is found, as LENGTH
    LENGTH = "length"  # so far below the top of the head


@dataclass(frozen=True)
class MeasureOptions:
    """Settings of the measurements; docs/reference/measurements.md defines each region and gives the sources.

    cortical_peel_mm: the outer layer that is always cortical. cortical_depth_mm: dense bone down to here is cortical,
    too: cortical_threshold_mg_cm3 if calibrated, else cortical_threshold_hu. below_trochanter_mm, total_length_mm:
    along the shaft. neck_length_mm: along the neck. metal_*: a cluster so large above this HU within near_mm.
    vessel_*: HU and length of a bright vessel in front of the hip.
    """

    cortical_peel_mm: float = 1.0
    cortical_depth_mm: float = 8.0
    cortical_threshold_mg_cm3: float = 350.0
    cortical_threshold_hu: float = 450.0
    total_rule: TotalRule = TotalRule.TROCHANTER
    below_trochanter_mm: float = 20.0
    total_length_mm: float = 100.0
    neck_length_mm: float = 15.0
    metal_hu: float = 2500.0
    metal_mm3: float = 30.0
    near_mm: float = 10.0
    vessel_low_hu: float = 130.0
    vessel_high_hu: float = 600.0
    vessel_length_mm: float = 18.0

    def described(self) -> tuple[tuple[str, Any], ...]:
        """Return names and values as written into the results."""
        return tuple((name, str(v) if isinstance(v, StrEnum) else v) for name, v in asdict(self).items())


STANDARD = MeasureOptions()
