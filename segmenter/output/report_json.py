"""The report of one run as records and as `report.json`.

The attribute docstrings are the descriptions of the published JSON schema (docs/reference/report.schema.json).
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydicom import dcmread

from segmenter.density.calibration import Calibration
from segmenter.measure.findings import Findings
from segmenter.objects.labels import LIMITS, NOTICE
from segmenter.output.femur_report import AsymmetryReport, Described, FemurReport, RegionReport, rounded
from segmenter.read.series import Series

SCHEMA_VERSION = "1"
REPORT = "report.json"
NOTHING_FOUND = "there is no proximal femur in the scan"
NOTHING_CLAIMED = "no proximal femur is claimed in the scan ({})"


@dataclass(frozen=True)
class RodReport(Described):
    """One rod of the calibration phantom."""

    density_mg_cm3: float
    """What its certificate says, in mg/cm3."""
    hu: float
    """Mean of its core in HU."""
    sd_hu: float
    """Standard deviation over its core in HU."""
    slices: int
    """In how many slices it was measured."""
    residual_hu: float
    """Measured minus the fitted line, in HU."""


@dataclass(frozen=True)
class CalibrationReport(Described):
    """How HU became densities: HU = slope * density + intercept."""

    mode: str
    """"phantom" (rods in this scan), "asynchronous" (certificate of the scanner) or "none" (HU only)."""
    equivalent_material: str | None
    """"K2HPO4" or "HA"; null without calibration."""
    slope_hu_per_mg_cm3: float | None
    """HU per mg/cm3."""
    intercept_hu: float | None
    """HU at density 0."""
    r2: float | None
    """Coefficient of determination of the fit; null when nothing was fitted here."""
    phantom: str
    """Name of the phantom or of the scanner's certificate."""
    serial: str
    """Its serial number as the settings give it."""
    certificate_date: str
    """YYYY-MM-DD; empty when not given."""
    tilt_deg: float | None
    """How far the rods lean from the scan's long axis in degrees; null when none were measured."""
    rods: tuple[RodReport, ...]
    """The rods that were measured."""
    warnings: tuple[str, ...]
    """Sentences about checks that were not passed, or why there is no calibration."""


@dataclass(frozen=True)
class ModelReport(Described):
    """Which weights made the result."""

    name: str
    """Name of the model."""
    version: str
    """Version of the model."""
    digest: str
    """SHA-256 of the weights, hexadecimal."""


@dataclass(frozen=True)
class GridReport(Described):
    """The source's grid; axes in array order: slices, rows, columns."""

    shape: tuple[int, int, int]
    """Numbers of slices, rows and columns."""
    spacing_mm: tuple[float, float, float]
    """Distances between voxel centres along the axes in mm."""
    slice_distance_mm: float
    """Distance between neighbouring slices square to them in mm; less than the first spacing when tilted."""
    tilt_deg: float
    """How far the stack leans from the slices' normal in degrees: the tilt of the gantry."""
    affine_lps: tuple[tuple[float, ...], ...]
    """4 x 4 matrix from voxel index (slice, row, column, 1) to LPS mm."""


@dataclass(frozen=True)
class SeriesReport(Described):
    """The source series."""

    study_uid: str
    """Study Instance UID."""
    series_uid: str
    """Series Instance UID."""
    uids: tuple[str, ...]
    """SOP Instance UIDs in geometric order."""
    geometry: GridReport
    """Where its voxels lie."""


@dataclass(frozen=True)
class ObjectReport(Described):
    """One DICOM object written."""

    path: str
    """Name of its file, in the folder of the report."""
    sop_class_uid: str
    """SOP Class UID."""
    sop_instance_uid: str
    """SOP Instance UID."""
    series_uid: str
    """Series Instance UID."""
    sha256: str
    """Of the file, hexadecimal; tells whether an archive kept these bytes."""


@dataclass(frozen=True)
class RefusedReport(Described):
    """A bone that was outlined but is not claimed to be a proximal femur."""

    side: str
    """"left" or "right": the side it would have had."""
    reason: str
    """What was seen, and what is missing for a proximal femur."""


@dataclass(frozen=True)
class Report(Described):
    """One run of the segmenter on one series. For investigational use."""

    schema_version: str
    """Version of this schema; a change that breaks readers raises it."""
    finding: str
    """Empty, or the sentence that says that nothing was found or claimed."""
    femurs: tuple[FemurReport, ...]
    """The femurs found, left first; empty when there is none in the scan."""
    refused: tuple[RefusedReport, ...]
    """What was outlined but cannot be shown to be a proximal femur; it is in no other object than the reports."""
    asymmetry: tuple[AsymmetryReport, ...]
    """Left against right, when both femurs are complete."""
    calibration: CalibrationReport
    """How densities were made, or that there are none."""
    outputs: tuple[str, ...]
    """Names of all files written, this one among them; all lie in the folder of the report."""
    objects: tuple[ObjectReport, ...]
    """The DICOM objects among them."""
    timings: Mapping[str, float]
    """Seconds by stage."""
    model: ModelReport
    """The network."""
    settings: Mapping[str, Any]
    """Names (with units) and values of the settings that shaped the numbers."""
    warnings: tuple[str, ...]
    """Sentences about the whole series."""
    series: SeriesReport
    """The source."""
    notice: str = NOTICE
    """What the result is for."""
    limits: str = LIMITS
    """What it is not made for."""

    def to_json(self) -> str:
        """Return the report as one JSON document, keys always in the same order."""
        return json.dumps(asdict(self), indent=2) + "\n"


def json_schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of `report.json`."""
    from pydantic import TypeAdapter

    made = TypeAdapter(Report).json_schema(mode="serialization")
    femur, region = (made["$defs"][kind.__name__]["properties"] for kind in (FemurReport, RegionReport))
    femur |= {key: region[key] for key in region}  # descriptions are not inherited
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


def describe_nothing(findings: Findings) -> str:
    """Return the sentence of a scan without femurs, with what was seen instead: refused bones, an implant."""
    seen = (*map(str, findings.refused), *findings.measurements.warnings)
    return NOTHING_CLAIMED.format("; ".join(seen)) if seen else NOTHING_FOUND


def describe_calibration(calibration: Calibration) -> CalibrationReport:
    """Return the calibration as the report gives it."""
    values = rounded(vars(calibration), 6)
    values["mode"], values["equivalent_material"] = str(values["mode"]), values.pop("material")
    values["rods"] = tuple(
        RodReport(rod.density_mg_cm3, round(rod.hu, 3), round(rod.sd_hu, 3), rod.slices, round(rod.residual_hu, 3))
        for rod in calibration.rods
    )
    return CalibrationReport(**values)


def describe_series(series: Series) -> SeriesReport:
    """Return the source's identifiers and grid."""
    grid = series.geometry
    spacing = tuple(round(float(mm), 6) for mm in grid.spacing)
    affine = tuple(tuple(round(float(value), 6) for value in row) for row in grid.affine)
    geometry = GridReport(
        shape=grid.shape,
        spacing_mm=(spacing[0], spacing[1], spacing[2]),
        slice_distance_mm=round(float(grid.distances[0]), 6),
        tilt_deg=round(float(grid.tilt_degrees), 3),
        affine_lps=affine,
    )
    return SeriesReport(series.study_uid, series.series_uid, series.instance_uids, geometry)


def describe_objects(paths: Sequence[Path]) -> tuple[ObjectReport, ...]:
    """Return the identifiers and the digest of each DICOM file."""
    heads = [(path, dcmread(path, stop_before_pixels=True)) for path in paths]
    return tuple(
        ObjectReport(
            path=path.name,
            sop_class_uid=str(head.SOPClassUID),
            sop_instance_uid=str(head.SOPInstanceUID),
            series_uid=str(head.SeriesInstanceUID),
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path, head in heads
    )
