"""Read the files of one CT series into geometric order on one regular grid, or refuse them with a reason."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset

from segmenter.errors import Reason, SegmenterError, Verdict
from segmenter.read.files import drop_unreadable
from segmenter.read.identity import require_one_patient
from segmenter.read.image_kind import Beam
from segmenter.read.set_aside import choose_scan, read_objects
from segmenter.read.slices import Slice, read_header
from segmenter.read.stacking import require_one
from segmenter.volume.geometry import Geometry

NOTABLE_TILT_DEGREES = 0.5  # less comes from rounded positions
TILT_AGREES_DEGREES = 1.0


@dataclass(frozen=True, eq=False)
class Series:
    """One CT series; `slices` are in the order of axis 0 of `geometry`, which runs along row x column direction."""

    header: Dataset  # of the first slice, without pixels
    slices: tuple[Slice, ...]
    geometry: Geometry
    warnings: tuple[str, ...] = ()

    @property
    def study_uid(self) -> str:
        """Study Instance UID."""
        return str(self.header.StudyInstanceUID)

    @property
    def series_uid(self) -> str:
        """Series Instance UID."""
        return self.slices[0].series_uid

    @property
    def instance_uids(self) -> tuple[str, ...]:
        """SOP Instance UIDs in geometric order, once each: an enhanced object holds many slices."""
        return tuple(dict.fromkeys(plane.sop_instance_uid for plane in self.slices))

    @property
    def kvp(self) -> float | None:
        """Tube voltage, kV; None where the slices do not all state the same."""
        voltages = {plane.kind.kvp for plane in self.slices}
        return voltages.pop() if len(voltages) == 1 else None

    @property
    def kernel(self) -> str:
        """The kernel as in the headers, several values joined by a backslash; empty where the slices differ in it."""
        kernels = {plane.kind.kernel for plane in self.slices}
        return kernels.pop() if len(kernels) == 1 else ""

    @property
    def beam(self) -> str:
        """Energy of monoenergetic images, and tube voltage, in words; empty where the slices do not state one."""
        kinds = {plane.kind.described for plane in self.slices if plane.kind.beam is Beam.MONOENERGETIC}
        return ", ".join([*sorted(kinds), *([f"{self.kvp:.0f} kVp"] if self.kvp else [])])


def read_series(files: Sequence[Path]) -> Series:
    """Read the headers of one series' files, in any order.

    Accepts original CT images and enhanced CT. Slices are sorted by position along the normal, never by Instance
    Number; duplicate slices, localisers, small acquisitions and a few odd objects beside the scan are left out with a
    warning. A tilted gantry gives a sheared grid and a warning. Raises SegmenterError with the reason when the files
    are not one regular stack in HU of one patient and study.
    """
    planes, odd = read_objects(files)
    require_one(planes, lambda s: s.series_uid, Reason.MIXED_SERIES, "series")
    require_one_patient([plane.identity for plane in planes])
    images = [plane for plane in planes if not plane.localiser]
    if not images:
        raise SegmenterError(
            Reason.LOCALISER,
            f"all {len(planes)} images are localisers: send the scan itself",
            Verdict.DECLINED,
        )
    found, warnings = choose_scan(images, odd)
    _require_attenuation(found.slices)
    if len(images) < len(planes):
        warnings.insert(0, f"{len(planes) - len(images)} localiser images were left out")
    if found.copies:
        warnings.append(f"{found.copies} duplicate slices were left out")
    warnings += _of_tilt(found.slices, found.geometry) + _of_loss(found.slices)
    warnings += _of_unit(found.slices) + _of_kind(found.slices)
    header = read_header(found.slices[0].path)
    drop_unreadable(header)
    return Series(header, found.slices, found.geometry, tuple(warnings))


def _require_attenuation(slices: Sequence[Slice]) -> None:
    """Raise SegmenterError(NOT_HU) for maps and projections, whose values are not the attenuation at a place."""
    others = [plane.kind.not_hu for plane in slices if plane.kind.not_hu]
    if others:
        raise SegmenterError(
            Reason.NOT_HU,
            f"{len(others)} of {len(slices)} images show, by their headers, no attenuation but {others[0]}: "
            "send the series with the attenuation in HU",
        )


def _of_tilt(slices: Sequence[Slice], geometry: Geometry) -> list[str]:
    """Return warnings of a tilted gantry, and of a tilt in the header that differs from that of the positions."""
    tilt = geometry.tilt_degrees
    claimed = next((abs(plane.gantry) for plane in slices if plane.gantry is not None), tilt)
    warnings = []
    if tilt >= NOTABLE_TILT_DEGREES:
        warnings.append(
            f"the gantry was tilted by {tilt:.1f} degrees: the bone was found and measured on the sheared grid that "
            "the slices really form"
        )
    if abs(claimed - tilt) > TILT_AGREES_DEGREES:
        warnings.append(
            f"the header says that the gantry was tilted by {claimed:.1f} degrees, the positions of the slices say "
            f"{tilt:.1f}: the positions were used"
        )
    return warnings


def _of_loss(slices: Sequence[Slice]) -> list[str]:
    lossy = sum(plane.lossy for plane in slices)
    if not lossy:
        return []
    return [f"{lossy} of {len(slices)} slices were compressed with loss: densities may be wrong"]


def _of_unit(slices: Sequence[Slice]) -> list[str]:
    if not any(plane.unspecified for plane in slices):
        return []
    return ["RescaleType is US (unspecified): the values were taken for HU because their histogram is that of a CT"]


def _of_kind(slices: Sequence[Slice]) -> list[str]:
    """Return a warning of computed images, in which bone has other HU than in those of a tube voltage."""
    kinds = {plane.kind.described for plane in slices if plane.kind.beam is Beam.MONOENERGETIC}
    return [f"the images are {kind}: HU of bone differ from those at a tube voltage" for kind in sorted(kinds)]
