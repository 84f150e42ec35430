"""Files -> one CT series in geometric order on one regular grid, or a named refusal."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from segmenter.errors import Reason, SegmenterError, Verdict
from segmenter.geometry import Geometry
from segmenter.slices import Slice, read_header, read_slices

# Scanners write positions with as few as one decimal: 0.625 mm steps then wander by 8 %. A slice may lie this
# share of a step off the regular grid; from 1.5 steps on, a slice is missing.
STEP_TOLERANCE = 0.1
SAME_POSITION_MM = 0.01
AXES_TOLERANCE = 1e-3  # of direction cosines; OHIF and cornerstone3D use the same
MIN_SLICES = 5
MIN_EXTENT_MM = 40.0  # along every axis; an adult proximal femur is longer
MAX_EXTENT_MM = 3000.0  # longer than any table moves
MAX_PIXELS = 4096 * 4096  # of one slice
MAX_VOXELS = 2**32  # memory is taken by what the headers say, so they must not say anything they like


@dataclass(frozen=True, eq=False)
class Series:
    """One CT series; `slices` follow axis 0 of `geometry`, which grows along row x column direction."""

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
        """SOP Instance UIDs in geometric order, each once (an enhanced object holds many slices)."""
        return tuple(dict.fromkeys(plane.sop_instance_uid for plane in self.slices))


def read_series(files: Sequence[Path]) -> Series:
    """Read the headers of one series' files, in any order.

    Accepts original CT images and single-stack enhanced CT. Slices are sorted by position along the normal,
    never by Instance Number; copies of a slice and localisers among the slices are left out with a warning.
    Raises SegmenterError with the reason when the files are not one regular, untilted stack of HU.
    """
    warnings: list[str] = []
    planes = [plane for path in sorted(files) for plane in read_slices(path)]
    _require_one(planes, lambda s: s.series_uid, Reason.MIXED_SERIES, "series")
    images = [plane for plane in planes if not plane.localiser]
    if not images:
        raise SegmenterError(
            Reason.LOCALISER,
            f"all {len(planes)} images are localisers: choose the scan itself",
            Verdict.DECLINED,
        )
    if len(images) < len(planes):
        warnings.append(f"{len(planes) - len(images)} localiser images left out")
    _require_one_grid(images)
    normal = _normal(images[0])
    ordered = sorted(images, key=lambda s: (float(s.point @ normal), s.sop_instance_uid))
    slices = _without_copies(ordered, normal, warnings)
    return Series(read_header(slices[0].path), tuple(slices), _geometry(slices, normal), tuple(warnings))


def _require_one(planes: Iterable[Slice], key: Callable[[Slice], object], reason: Reason, what: str) -> None:
    """Refuse slices that differ in something all of them must share, naming the values found."""
    found = sorted({str(key(plane)) for plane in planes})
    if len(found) > 1:
        raise SegmenterError(
            reason, f"the files hold {len(found)} different {what}, needed is one: {'; '.join(found[:4])}"
        )
    if not found:
        raise SegmenterError(Reason.TOO_SHORT, "there are no images in the series", Verdict.DECLINED)


def _require_one_grid(images: Sequence[Slice]) -> None:
    _require_one(images, lambda s: s.frame_of_reference_uid, Reason.MIXED_FRAME_OF_REFERENCE, "frames of reference")
    _require_one(
        images, lambda s: f"{s.rows}x{s.columns} at {'x'.join(f'{float(v):.6g}' for v in s.spacing)} mm",
        Reason.MIXED_GRID, "pixel grids",
    )  # fmt: skip
    first = images[0].axes
    if any(np.abs(plane.axes - first).max() > AXES_TOLERANCE for plane in images):
        raise SegmenterError(
            Reason.MIXED_ORIENTATION,
            "the slices do not all look the same way: send each reformation as its own series",
        )
    if np.abs(first @ first.T - np.eye(2)).max() > AXES_TOLERANCE:
        raise SegmenterError(
            Reason.MISSING_GEOMETRY,
            "ImageOrientationPatient is not two perpendicular directions of length one",
        )
    pixels = images[0].rows * images[0].columns
    if pixels > MAX_PIXELS or pixels * len(images) > MAX_VOXELS:
        raise SegmenterError(
            Reason.UNREADABLE,
            f"{len(images)} images of {images[0].rows} x {images[0].columns} pixels are more than any scan has",
        )
    if min(float(v) for v in images[0].spacing) <= 0:
        raise SegmenterError(Reason.MISSING_GEOMETRY, f"PixelSpacing must be above 0, it is {images[0].spacing}")


def _normal(plane: Slice) -> NDArray[np.float64]:
    normal = np.cross(*plane.axes)
    unit: NDArray[np.float64] = normal / np.linalg.norm(normal)
    return unit


def _without_copies(ordered: Sequence[Slice], normal: NDArray[np.float64], warnings: list[str]) -> list[Slice]:
    """Keep one of several slices at one position when their pixels are the same; refuse when they differ."""
    kept: list[Slice] = []
    for plane in ordered:
        if not kept or abs(float((plane.point - kept[-1].point) @ normal)) > SAME_POSITION_MM:
            kept.append(plane)
        elif _pixels(plane) != _pixels(kept[-1]):
            raise SegmenterError(
                Reason.DUPLICATE_POSITION,
                f"several different images lie at {_place(plane, normal)} mm: "
                "send each reconstruction or phase as its own series",
            )
    if len(kept) < len(ordered):
        warnings.append(f"{len(ordered) - len(kept)} copies of slices left out")
    return kept


def _pixels(plane: Slice) -> tuple[object, ...]:
    """Return what two copies of a slice must share: the stored pixels and how to read them."""
    # Two frames of one object at one place are two phases: the frame number counts as a difference.
    return plane.frame, plane.slope, plane.intercept, dcmread(plane.path).get("PixelData")


def _place(plane: Slice, normal: NDArray[np.float64]) -> str:
    """Name a slice's place by the patient axis nearest to the normal, for instance `z=-869.8`."""
    axis = int(np.argmax(np.abs(normal)))
    return f"{'xyz'[axis]}={plane.point[axis]:.1f}"


def _geometry(slices: Sequence[Slice], normal: NDArray[np.float64]) -> Geometry:
    """Fit the regular grid through the slices, refusing gaps, uneven steps and tilt."""
    points = np.array([plane.point for plane in slices])
    depths = points @ normal
    if len(slices) < MIN_SLICES:
        raise SegmenterError(
            Reason.TOO_SHORT,
            f"the series has {len(slices)} slices, needed are {MIN_SLICES}",
            Verdict.DECLINED,
        )
    step, start = _even_steps(slices, depths, normal)
    _refuse_tilt(slices[0], points, normal)
    along_row, along_column = slices[0].axes
    row_mm, column_mm = (float(value) for value in slices[0].spacing)
    affine = np.eye(4)
    affine[:3, :3] = np.stack([normal * step, along_column * row_mm, along_row * column_mm], axis=1)
    affine[:3, 3] = points[0] + normal * (start - depths[0])
    geometry = Geometry((len(slices), slices[0].rows, slices[0].columns), affine)
    extent = np.array(geometry.shape) * geometry.spacing
    if extent.min() < MIN_EXTENT_MM:
        raise SegmenterError(
            Reason.TOO_SHORT,
            f"the scan is {' x '.join(f'{mm:.0f}' for mm in extent)} mm (z, y, x), "
            f"needed are {MIN_EXTENT_MM:.0f} mm each way",
            Verdict.DECLINED,
        )
    if extent.max() > MAX_EXTENT_MM:
        raise SegmenterError(
            Reason.MISSING_GEOMETRY,
            f"the scan would be {extent.max() / 1000:.0f} m long: PixelSpacing or the positions cannot be right",
        )
    return geometry


def _even_steps(
    slices: Sequence[Slice], depths: NDArray[np.float64], normal: NDArray[np.float64]
) -> tuple[float, float]:
    """Return the regular step and the first depth, mm; fitted, because each position is rounded by itself."""
    steps = np.diff(depths)
    usual = float(np.median(steps))
    for (before, after), step in zip(pairwise(slices), steps, strict=True):
        if step > 1.5 * usual:
            raise SegmenterError(
                Reason.GAP,
                f"a slice is missing between {_place(before, normal)} and {_place(after, normal)} mm: "
                f"steps of {usual:.2f} mm, here {step:.2f} mm",
            )
    index = np.arange(len(depths))
    step, start = (float(value) for value in np.polyfit(index, depths, 1))
    if np.abs(depths - (start + step * index)).max() > STEP_TOLERANCE * step:
        raise SegmenterError(
            Reason.UNEVEN_STEPS,
            f"the steps between slices run from {steps.min():.2f} to {steps.max():.2f} mm: reconstruct with one step",
        )
    return step, start


def _refuse_tilt(first: Slice, points: NDArray[np.float64], normal: NDArray[np.float64]) -> None:
    """Refuse slices that are not stacked along their normal; `points` are their positions `(n, 3)`."""
    depths = (points - points[0]) @ normal
    drift = np.linalg.norm(points - points[0] - np.outer(depths, normal), axis=1)
    worst = int(np.argmax(drift))
    # Up to half a pixel the untilted grid is still the nearest one.
    if drift[worst] > max(0.5 * min(float(value) for value in first.spacing), 0.1):
        raise SegmenterError(
            Reason.GANTRY_TILT,
            f"the slices are stacked {np.degrees(np.arctan2(drift[worst], depths[worst])):.1f} degrees off their "
            "normal (gantry tilt): reconstruct the series without tilt",
        )
