"""Everything that one run leaves behind: DICOM objects for the archive, pages and meshes for people, in one folder."""

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
from segmenter.output.page.files import save_pdf, save_png
from segmenter.output.page.sheet import Subject, draw_page
from segmenter.read.series import Series
from segmenter.volume.femur import Femur

SEG, LABELMAP = "seg.dcm", "labelmap.dcm"
CHECKS: Mapping[str, Callable[..., tuple[str, ...]]] = MappingProxyType({SEG: check_seg, LABELMAP: check_labelmap})


@dataclass(frozen=True)
class Wanted:
    """What is written beside SEG, report and picture: the SEG once more as a label map; a mesh of every femur."""

    labelmap: bool = False
    mesh: bool = False


@dataclass(frozen=True, eq=False)
class Run:
    """What results are made of. volume: HU `(z, y, x)` on the series' grid, as the masks of the femora are."""

    series: Series
    volume: NDArray[Any]
    femurs: tuple[Femur, ...]
    identity: ResultIdentity

    @property
    def masks(self) -> dict[Any, NDArray[Any]]:
        """The masks by side."""
        return {femur.side: femur.mask for femur in self.femurs}


@dataclass(frozen=True)
class Written:
    """The files of one run; objects: the DICOM ones."""

    objects: tuple[Path, ...]
    others: tuple[Path, ...]


def write_segmentations(run: Run, wanted: Wanted, out: Path) -> tuple[Path, ...]:
    """Write `seg.dcm` and, if wanted, `labelmap.dcm` into `out`; nothing where no femur was found."""
    if not run.femurs:
        return ()
    seg = write_seg(run.series, run.masks, run.identity, out / SEG)
    if not wanted.labelmap:
        return (seg,)
    return seg, write_labelmap(run.series, run.masks, run.identity, out / LABELMAP)


def check_segmentations(run: Run, segs: tuple[Path, ...]) -> tuple[str, ...]:
    """Read them back; return warnings about viewers. What is not as the masks say is deleted, and the error raised."""
    try:
        warnings = [warning for path in segs for warning in CHECKS[path.name](path, run.series, run.masks)]
    except SegmenterError:
        for path in segs:
            path.unlink()
        raise
    return tuple(dict.fromkeys(warnings))


def write_reports(run: Run, findings: Findings, segs: tuple[Path, ...], wanted: Wanted, out: Path) -> Written:
    """Write `sr.dcm`, `sc.dcm`, `overlay.png`, `overlay.pdf` and, if wanted, meshes; the objects begin with `segs`.

    Without a femur they say that there is none.
    """
    sr = write_sr(run.series, run.identity, findings, segs[0] if segs else None, out / "sr.dcm")
    maker, source = describe_maker(run.identity), describe_source(run.series)
    page = draw_page(Subject(run.volume, run.series.geometry, run.femurs, findings, maker, source))
    picture = write_sc(run.series, run.identity, page, out / "sc.dcm")
    others = [save_png(page, out / "overlay.png"), save_pdf(page, out / "overlay.pdf", run.identity.created)]
    others += _meshes(run, out) if wanted.mesh else ()
    return Written((*segs, sr, picture), tuple(others))


def _meshes(run: Run, out: Path) -> Iterator[Path]:
    for femur in run.femurs:
        for ending in ("stl", "ply"):
            yield write_mesh(femur, run.series.geometry, out / f"{femur.side}.{ending}")
