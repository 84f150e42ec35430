"""Segment and measure one series: DICOM files in; segmentation, measurements, page and report out."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from segmenter.density.calibrate import calibrate
from segmenter.density.calibration import uncalibrated
from segmenter.density.settings import DensitySettings, read_density_settings
from segmenter.measure.distal import shorten
from segmenter.measure.femurs import measure_femurs
from segmenter.measure.findings import Findings
from segmenter.measure.options import MeasureOptions
from segmenter.objects.common import ResultIdentity, source_time
from segmenter.objects.earlier import WARNING, read_earlier
from segmenter.output.femur_report import describe_measurements
from segmenter.output.outputs import (
    OutputOptions,
    SegmentedSeries,
    WrittenFiles,
    check_segmentations,
    write_reports,
    write_segmentations,
)
from segmenter.output.report_json import (
    REPORT,
    SCHEMA_VERSION,
    ModelReport,
    RefusedReport,
    Report,
    describe_calibration,
    describe_nothing,
    describe_objects,
    describe_series,
)
from segmenter.read.doubts import find_doubts
from segmenter.read.hounsfield import read_volume
from segmenter.read.patient_age import child_warning
from segmenter.read.series import Series, read_series
from segmenter.volume.femur import Femur, Refusal, Search
from segmenter.volume.geometry import Geometry

STAGES = ("read", "locate", "segment", "measure", "write", "check", "report")

OnStage = Callable[[str], None]


@dataclass(frozen=True)
class SegmentationMethod:
    """A function that finds the femurs, `find(volume_hu, geometry, on_stage)`, with its name, version and digest.

    find calls on_stage("segment") once it has found the hips; its result also names what it refused to call a femur.
    """

    name: str
    version: str
    digest: str
    find: Callable[[NDArray[Any], Geometry, OnStage], Search]


@dataclass(frozen=True)
class SegmentRequest:
    """One series to segment into the folder `out`.

    created: the time in the results; None takes the time of the source, so that the same files always give the same
    bytes. model: folder of weights, None for the product's own. distal_mm: length kept of each femur, from the
    top of the head along the shaft; 0 follows the scan. calibration: file of settings that turn HU into density, None
    for HU only. settings: further values that go into the digest of the settings. notes: warnings about the files, such
    as what was left out of the folder. replaces: files of earlier results of this series, made of fewer images.
    """

    files: Sequence[Path]
    out: Path
    created: datetime | None = None
    model: Path | None = None
    device: str = "auto"
    distal_mm: float = 0.0
    calibration: Path | None = None
    measure: MeasureOptions = field(default_factory=MeasureOptions)
    outputs: OutputOptions = field(default_factory=OutputOptions)
    settings: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    replaces: Sequence[Path] = ()


def vnet_method(model: Path | None = None, device: str = "auto") -> SegmentationMethod:
    """Return the V-Net as a method; loading checks the weights' digest."""
    from segmenter.vnet.coarse import coarse_view
    from segmenter.vnet.fine import segment_femurs
    from segmenter.vnet.orientation import require_orientation
    from segmenter.vnet.weights import load_models

    models = load_models(model, device)

    def find(volume: NDArray[Any], geometry: Geometry, on_stage: OnStage) -> Search:
        refused: list[Refusal] = []
        coarse = coarse_view(volume, geometry, models)
        straight = require_orientation(volume, geometry, models, coarse)
        known = coarse if straight is geometry else None
        femurs = segment_femurs(volume, straight, models, on_stage, refused.append, known)
        return Search(tuple(femurs), tuple(refused))

    return SegmentationMethod(models.name, models.version, models.digest, find)


def segment(
    request: SegmentRequest, on_stage: OnStage = lambda stage: None, method: SegmentationMethod | None = None
) -> Report:
    """Segment and measure one series; write the files of `output.outputs` and `report.json`; return the report.

    on_stage: called with each of STAGES as it begins. method: None loads the network that the request names. A scan
    without a femur gives a report that states so. Raises SegmenterError when the series cannot be segmented; results
    that fail the check are deleted.
    """
    density = read_density_settings(request.calibration)
    method = method or vnet_method(request.model, request.device)
    clock = _Clock(on_stage)
    clock("read")
    series = read_series(request.files)
    volume = read_volume(series)
    doubts = find_doubts(series, volume)
    clock("locate")
    search = method.find(volume, series.geometry, clock)
    clock("measure")
    femurs, cut_warnings = _shortened(search.femurs, series, request.distal_mm)
    if doubts.no_density and density.mode != "none":
        calibration = uncalibrated(doubts.no_density)
    else:
        calibration = calibrate(volume, series, [femur.mask for femur in femurs], density)
    agent = any(plane.contrast for plane in series.slices)
    measured = measure_femurs(femurs, volume, series.geometry, calibration, request.measure, agent)
    segmented = SegmentedSeries(series, volume, tuple(femurs), _identity(request, method, series, density))
    clock("write")
    request.out.mkdir(parents=True, exist_ok=True)
    segs = write_segmentations(segmented, request.outputs, request.out)
    clock("check")
    warnings = (
        *((WARNING,) if segmented.identity.replaces else ()),
        *request.notes,
        *series.warnings,
        *child_warning(series.header),
        *doubts.warnings,
        *cut_warnings,
        *measured.warnings,
        *check_segmentations(segmented, segs),
    )
    clock("report")
    findings = Findings(measured, calibration, warnings, search.refused)
    written = write_reports(segmented, findings, segs, request.outputs, request.out)
    clock.stop()
    report = _report(segmented, findings, written, clock.timings)
    (request.out / REPORT).write_text(report.to_json())
    return report


def _shortened(femurs: Sequence[Femur], series: Series, length_mm: float) -> tuple[Sequence[Femur], list[str]]:
    """Return the femurs cut to a length, 0 for no cut, and warnings of those that are shorter."""
    if not length_mm:
        return femurs, []
    cut = [shorten(femur, series.geometry, length_mm) for femur in femurs]
    return [femur for femur, _ in cut], [warning for _, warning in cut if warning]


def _report(
    segmented: SegmentedSeries, findings: Findings, written: WrittenFiles, timings: Mapping[str, float]
) -> Report:
    femurs, asymmetry = describe_measurements(findings.measurements)
    model = ModelReport(
        segmented.identity.model_name, segmented.identity.model_version, segmented.identity.model_digest
    )
    return Report(
        schema_version=SCHEMA_VERSION,
        finding="" if segmented.femurs else describe_nothing(findings),
        femurs=femurs,
        refused=tuple(RefusedReport(str(refusal.side), refusal.reason) for refusal in findings.refused),
        asymmetry=asymmetry,
        calibration=describe_calibration(findings.calibration),
        outputs=(*(path.name for path in (*written.objects, *written.others)), REPORT),
        objects=describe_objects(written.objects),
        timings=timings,
        model=model,
        settings=dict(findings.measurements.settings),
        warnings=findings.remarks,
        series=describe_series(segmented.series),
    )


def _identity(
    request: SegmentRequest, method: SegmentationMethod, series: Series, density: DensitySettings
) -> ResultIdentity:
    """Return the identity of the results; every setting that can change a number changes its digest."""
    values: dict[str, Any] = {**request.settings, **dict(request.measure.described()), "calibration": density.digest}
    values |= {"distal_mm": request.distal_mm}
    return ResultIdentity(
        model_name=method.name,
        model_version=method.version,
        model_digest=method.digest,
        settings_digest=hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest(),
        created=request.created or source_time(series) or datetime.now(),
        replaces=read_earlier(request.replaces),
    )


class _Clock:
    """Measures the stages: a call with a name ends the previous stage and begins the next."""

    def __init__(self, on_stage: OnStage) -> None:
        self.timings: dict[str, float] = {}
        self._on_stage = on_stage
        self._stage: str | None = None
        self._began = 0.0

    def __call__(self, stage: str) -> None:
        self.stop()
        self._stage, self._began = stage, time.perf_counter()
        self._on_stage(stage)

    def stop(self) -> None:
        """End the current stage, if any."""
        if self._stage is not None:
            self.timings[self._stage] = round(time.perf_counter() - self._began, 3)
            self._stage = None
