"""The figures of each femur in the density truth test."""

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One femur of a case; densities in mg/cm3, None where there is none.

    known: of the patient, before blur and noise of the scanner. as_scanned: in the true mask of the scan, by the true
    calibration line. true_mask, own_mask: by the line of the phantom. certificate: in the true mask, by the line of a
    scanner without drift. voxels: of either mask.
    """

    case: int
    group: str
    side: str
    model: str
    drift_percent: float
    noise_hu: float
    step_mm: float
    kernel: str
    position: str
    known: float
    as_scanned: float
    true_mask: float | None
    own_mask: float | None
    certificate: float
    slope_percent: float | None
    intercept_hu: float | None
    r2: float | None
    voxels: int
    own_voxels: int
    dice: float | None
    warnings: tuple[str, ...]


def read_rows(path: Path) -> list[Row]:
    """Return the femurs measured so far."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [Row(**{**row, "warnings": tuple(row["warnings"])}) for line in lines for row in json.loads(line)]
