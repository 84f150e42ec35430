"""What one run found and made, as records and as `report.json`."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread

from segmenter.femur import Femur
from segmenter.geometry import Geometry
from segmenter.labels import NOTICE
from segmenter.series import Series


@dataclass(frozen=True)
class FemurReport:
    """The measurements of one femur; mean_hu over the mask, not calibrated."""

    side: str
    complete: bool
    incomplete_reasons: tuple[str, ...]
    volume_ml: float
    mean_hu: float
    voxels: int


@dataclass(frozen=True)
class ModelReport:
    """Which weights made the result; digest: SHA-256, hexadecimal."""

    name: str
    version: str
    digest: str


@dataclass(frozen=True)
class SeriesReport:
    """The source: uids of its images in geometric order, and its grid (axes in array order, LPS mm)."""

    study_uid: str
    series_uid: str
    uids: tuple[str, ...]
    geometry: Mapping[str, Any]


@dataclass(frozen=True)
class ObjectReport:
    """One DICOM object written; sha256 of the file tells whether an archive kept these bytes."""

    path: str
    sop_class_uid: str
    sop_instance_uid: str
    series_uid: str
    sha256: str


@dataclass(frozen=True)
class Report:
    """One run; timings in seconds by stage; outputs: all files written; objects: the DICOM ones."""

    femurs: tuple[FemurReport, ...]
    outputs: tuple[str, ...]
    objects: tuple[ObjectReport, ...]
    timings: Mapping[str, float]
    model: ModelReport
    warnings: tuple[str, ...]
    series: SeriesReport
    notice: str = NOTICE

    def to_json(self) -> str:
        """Return the report as one JSON document, keys always in the same order."""
        return json.dumps(asdict(self), indent=2) + "\n"


def measure(femur: Femur, volume: NDArray[Any], geometry: Geometry) -> FemurReport:
    """Return what a femur's mask says of the HU volume `(z, y, x)` under it."""
    voxels = int(np.count_nonzero(femur.mask))
    return FemurReport(
        side=str(femur.side),
        complete=femur.complete,
        incomplete_reasons=femur.reasons,
        volume_ml=round(voxels * geometry.voxel_volume_mm3 / 1000, 3),
        mean_hu=round(float(volume[femur.mask].mean(dtype=np.float64)), 3),
        voxels=voxels,
    )


def describe_series(series: Series) -> SeriesReport:
    """Return the source's identifiers and grid."""
    grid = series.geometry
    geometry = {
        "shape": list(grid.shape),
        "spacing_mm": [round(mm, 6) for mm in grid.spacing],
        "affine_lps": [[round(float(value), 6) for value in row] for row in grid.affine],
    }
    return SeriesReport(series.study_uid, series.series_uid, series.instance_uids, geometry)


def describe_objects(paths: Sequence[Path]) -> tuple[ObjectReport, ...]:
    """Return what a sender needs to know of each DICOM file."""
    heads = [(path, dcmread(path, stop_before_pixels=True)) for path in paths]
    return tuple(
        ObjectReport(
            path=str(path),
            sop_class_uid=str(head.SOPClassUID),
            sop_instance_uid=str(head.SOPInstanceUID),
            series_uid=str(head.SeriesInstanceUID),
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path, head in heads
    )
