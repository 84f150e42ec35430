"""Write the files of a run into one folder: DICOM objects for the archive, pages and meshes for people."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from numpy.typing import NDArray

from segmenter.errors import SegmenterError
from segmenter.measure.findings import Findings
from segmenter.objects.common import ResultIdentity
from segmenter.objects.sc import write_sc
from segmenter.objects.seg import write_labelmap, write_seg
from segmenter.objects.seg_check import check_labelmap, check_seg
from segmenter.objects.sr import write_sr
from segmenter.output.mesh import write_mesh
from segmenter.output.page.content import describe_maker, describe_source
from segmenter.output.page.drawing import BACKGROUND
from segmenter.output.page.files import save_pdf, save_png
from segmenter.output.page.layout import PageData, draw_page
from segmenter.read.series import Series
from segmenter.volume.femur import Femur

SEG, LABELMAP = "seg.dcm", "labelmap.dcm"
CHECKS: Mapping[str, Callable[..., tuple[str, ...]]] = MappingProxyType({SEG: check_seg, LABELMAP: check_labelmap})


@dataclass(frozen=True)
class OutputOptions:
    """Optional files: the segmentation as a label map as well, a mesh of every femur."""

    labelmap: bool = False
    mesh: bool = False


@dataclass(frozen=True, eq=False)
class SegmentedSeries:
    """A series with its femurs. volume: HU `(z, y, x)` on the series' grid, like the masks of the femurs."""

    series: Series
    volume: NDArray[Any]
    femurs: tuple[Femur, ...]
    identity: ResultIdentity

    @property
    def masks(self) -> dict[Any, NDArray[Any]]:
        """The masks by side."""
        return {femur.side: femur.mask for femur in self.femurs}


@dataclass(frozen=True)
class WrittenFiles:
    """The files of one run; objects: the DICOM objects among them."""

    objects: tuple[Path, ...]
    others: tuple[Path, ...]


def write_segmentations(segmented: SegmentedSeries, options: OutputOptions, out: Path) -> tuple[Path, ...]:
    """Write `seg.dcm` and, if asked for, `labelmap.dcm` into `out`; nothing where no femur was found."""
    if not segmented.femurs:
        return ()
    seg = write_seg(segmented.series, segmented.masks, segmented.identity, out / SEG)
    if not options.labelmap:
        return (seg,)
    return seg, write_labelmap(segmented.series, segmented.masks, segmented.identity, out / LABELMAP)


def check_segmentations(segmented: SegmentedSeries, segs: tuple[Path, ...]) -> tuple[str, ...]:
    """Check the segmentations on disk and return warnings about viewers; an error deletes all of them."""
    try:
        warnings = [warning for path in segs for warning in CHECKS[path.name](path, segmented.series, segmented.masks)]
    except SegmenterError:
        for path in segs:
            path.unlink()
        raise
    return tuple(dict.fromkeys(warnings))


def write_reports(
    segmented: SegmentedSeries, findings: Findings, segs: tuple[Path, ...], options: OutputOptions, out: Path
) -> WrittenFiles:
    """Write `sr.dcm`, `sc.dcm`, `overlay.png`, `overlay.pdf` and, if asked for, meshes; the objects begin with `segs`.

    Without a femur they state that none was found.
    """
    sr = write_sr(segmented.series, segmented.identity, findings, segs[0] if segs else None, out / "sr.dcm")
    maker, source = describe_maker(segmented.identity), describe_source(segmented.series)
    page = draw_page(PageData(segmented.volume, segmented.series.geometry, segmented.femurs, findings, maker, source))
    picture = write_sc(segmented.series, segmented.identity, page, BACKGROUND, out / "sc.dcm")
    others = [save_png(page, out / "overlay.png"), save_pdf(page, out / "overlay.pdf", segmented.identity.created)]
    others += _meshes(segmented, out) if options.mesh else ()
    return WrittenFiles((*segs, sr, picture), tuple(others))


def _meshes(segmented: SegmentedSeries, out: Path) -> Iterator[Path]:
    for femur in segmented.femurs:
        for ending in ("stl", "ply"):
            yield write_mesh(femur, segmented.series.geometry, out / f"{femur.side}.{ending}")
