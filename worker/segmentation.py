"""The interface between the worker and the segmenter: files and a folder in, written files and a report out."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from segmenter.pipeline import SegmentationMethod

MODELS_KEPT = 2  # kept in memory: the default one and that of one route


@dataclass(frozen=True)
class SegmentationOutput:
    """The files a segmenter wrote into its folder, and its report as JSON values."""

    files: tuple[Path, ...]
    report: dict[str, Any]


@dataclass(frozen=True)
class Extras:
    """What a job asks for beyond the usual results.

    labelmap: also write the segmentation as a label map. replaces: files of the results of earlier revisions of the
    series, which the new ones name as out of date.
    """

    labelmap: bool = False
    replaces: tuple[Path, ...] = ()


class Segmenter(Protocol):
    """Segments a series; picklable, because the worker's child process is a new interpreter."""

    def preload(self) -> None:
        """Load the model into this process before the first job."""

    def segment(
        self,
        files: Sequence[Path],
        out: Path,
        created: datetime,
        on_stage: Callable[[str], None],
        model: str = "",
        extras: Extras = Extras(),
    ) -> SegmentationOutput:
        """Segment one series into the folder `out`; raises SegmenterError with a verdict.

        model: folder of the weights from the job's route, empty = the default.
        """


@dataclass(frozen=True)
class VNetSegmenter:
    """The shipped segmenter. model: folder of the weights, empty = those of the package; device: auto, cpu or cuda.

    distal_mm: length kept of each femur, 0 = as far as the scan reaches. calibration: settings file, empty = HU only.
    """

    model: str = ""
    device: str = "auto"
    distal_mm: float = 0.0
    calibration: str = ""

    def preload(self) -> None:
        """Load the model. Raises SegmenterError if the model or the calibration is missing or not valid."""
        from segmenter.density.settings import read_density_settings

        read_density_settings(self._calibration)
        loaded_method(self.model, self.device)

    @property
    def _calibration(self) -> Path | None:
        return Path(self.calibration) if self.calibration else None

    def segment(
        self,
        files: Sequence[Path],
        out: Path,
        created: datetime,
        on_stage: Callable[[str], None],
        model: str = "",
        extras: Extras = Extras(),
    ) -> SegmentationOutput:
        """Run the whole pipeline on one series."""
        from segmenter.output.outputs import OutputOptions
        from segmenter.pipeline import SegmentRequest, segment

        request = SegmentRequest(
            files,
            out,
            created,
            distal_mm=self.distal_mm,
            calibration=self._calibration,
            outputs=OutputOptions(extras.labelmap),
            replaces=extras.replaces,
        )
        report = segment(request, on_stage, loaded_method(model or self.model, self.device))
        return SegmentationOutput(tuple(out / name for name in report.outputs), json.loads(report.to_json()))


@lru_cache(maxsize=MODELS_KEPT)
def loaded_method(model: str, device: str) -> "SegmentationMethod":
    """Return the network, loaded once per process, which then owns the memory of the GPU."""
    from segmenter.pipeline import vnet_method

    return vnet_method(Path(model) if model else None, device)
