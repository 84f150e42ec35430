"""The whole way of one series: DICOM files in; SEG, picture and report out."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from segmenter.dicom_common import ResultIdentity, source_time
from segmenter.dicom_seg import write_seg
from segmenter.distal import shorten
from segmenter.errors import Reason, SegmenterError, Verdict
from segmenter.femur import Femur
from segmenter.geometry import Geometry
from segmenter.picture import draw_overlay
from segmenter.readback import check_seg
from segmenter.report import ModelReport, Report, describe_objects, describe_series, measure
from segmenter.series import Series, read_series
from segmenter.volume import read_volume

STAGES = ("read", "locate", "segment", "write", "check")

OnStage = Callable[[str], None]


@dataclass(frozen=True)
class Method:
    """What finds the femora: `find(volume_hu, geometry, on_stage)`, and its name, version and digest.

    find calls on_stage("segment") once it has located the hips.
    """

    name: str
    version: str
    digest: str
    find: Callable[[NDArray[Any], Geometry, OnStage], list[Femur]]


@dataclass(frozen=True)
class SegmentRequest:
    """One series to segment into the folder `out`.

    created: the time the results carry; None takes the source's own, so that the same files always give the
    same bytes. model: folder of weights, None for the product's own. distal_mm: length kept of each femur, from the
    top of the head along the shaft; 0 follows the scan. settings: what else counts.
    """

    files: Sequence[Path]
    out: Path
    created: datetime | None = None
    model: Path | None = None
    device: str = "auto"
    distal_mm: float = 0.0
    settings: Mapping[str, str] = field(default_factory=dict)


def network(model: Path | None = None, device: str = "auto") -> Method:
    """Return the V-Net as a method; loading checks the weights' digest."""
    from segmenter.inference import segment_femora
    from segmenter.weights import load_models

    models = load_models(model, device)

    def find(volume: NDArray[Any], geometry: Geometry, on_stage: OnStage) -> list[Femur]:
        femurs: list[Femur] = segment_femora(volume, geometry, models, on_stage=on_stage)
        return femurs

    return Method(models.name, models.version, models.digest, find)


def segment(request: SegmentRequest, on_stage: OnStage = lambda stage: None, method: Method | None = None) -> Report:
    """Segment one series; write `seg.dcm`, `overlay.png` and `report.json`; return the report.

    on_stage: called with each of STAGES as it begins. method: None loads the network that the request names.
    Raises SegmenterError for every refusal; a SEG that fails the check is deleted.
    """
    method = method or network(request.model, request.device)
    clock = _Clock(on_stage)
    clock("read")
    series = read_series(request.files)
    volume = read_volume(series)
    clock("locate")
    femurs = method.find(volume, series.geometry, clock)
    if not femurs:
        raise SegmenterError(Reason.NO_FEMUR, "there is no proximal femur in the scan", Verdict.DECLINED)
    warnings = list(series.warnings)
    if request.distal_mm:
        cut = [shorten(femur, series.geometry, request.distal_mm) for femur in femurs]
        femurs = [femur for femur, _ in cut]
        warnings += [warning for _, warning in cut if warning]
    clock("write")
    request.out.mkdir(parents=True, exist_ok=True)
    masks = {femur.side: femur.mask for femur in femurs}
    seg = write_seg(series, masks, _identity(request, method, series), request.out / "seg.dcm")
    rows = tuple(measure(femur, volume, series.geometry) for femur in femurs)
    picture = draw_overlay(volume, series.geometry, femurs, rows, request.out / "overlay.png")
    clock("check")
    try:
        check_seg(seg, series, masks)
    except SegmenterError:
        seg.unlink()
        raise
    clock.stop()
    target = request.out / "report.json"
    report = Report(
        femurs=rows,
        outputs=tuple(str(path) for path in (seg, picture, target)),
        objects=describe_objects([seg]),
        timings=clock.timings,
        model=ModelReport(method.name, method.version, method.digest),
        warnings=tuple(warnings),
        series=describe_series(series),
    )
    target.write_text(report.to_json())
    return report


def _identity(request: SegmentRequest, method: Method, series: Series) -> ResultIdentity:
    distal = {"distal_mm": f"{request.distal_mm:g}"} if request.distal_mm else {}
    settings = json.dumps({**request.settings, **distal}, sort_keys=True)
    return ResultIdentity(
        model_name=method.name,
        model_version=method.version,
        model_digest=method.digest,
        settings_digest=hashlib.sha256(settings.encode()).hexdigest(),
        created=request.created or source_time(series) or datetime.now(),
    )


class _Clock:
    """Measures the stages; calling it with a name ends the stage before and begins the next."""

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
        """End the stage that runs, if one does."""
        if self._stage is not None:
            self.timings[self._stage] = round(time.perf_counter() - self._began, 3)
            self._stage = None
