"""Sort planes into one stack on a regular grid, or refuse them with a reason; only headers are read."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segmenter.errors import Reason, SegmenterError, Verdict
from segmenter.read.files import UNREADABLE, parse_file
from segmenter.read.slices import Slice
from segmenter.volume.geometry import Geometry

# Scanners write positions with as few as one decimal: steps of 0.625 mm then vary by 8 %. A slice may lie this
# share of a step off the regular grid; a step 1.5 times the usual one means a missing slice.
STEP_TOLERANCE = 0.1
# The distance of the slices changes, and no slice is missing, where a few parts of so many steps have one each.
STEP_CHANGE, ROUNDING_MM, MIN_PART, MAX_PARTS = 0.15, 0.15, 3, 4
SAME_POSITION_MM = 0.01
AXES_TOLERANCE = 1e-3  # of direction cosines; OHIF and cornerstone3D use the same
MIN_SLICES = 5
MIN_EXTENT_MM = 40.0  # along every axis; an adult proximal femur is longer
MAX_EXTENT_MM = 3000.0  # longer than the travel of any table
MAX_PIXELS = 4096 * 4096  # of one slice
MAX_VOXELS = 2**32  # limits the memory that wrong headers could claim
MAX_TILT_DEGREES = 30.5  # gantries tilt by up to 30; the half is for rounded positions

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices in geometric order on one grid; copies: the number of duplicate images left out."""

    slices: tuple[Slice, ...]
    geometry: Geometry
    copies: int = 0


def stack(images: Sequence[Slice]) -> Stack:
    """Sort images along their normal, never by Instance Number, and fit the grid through them.

    Raises SegmenterError with the reason when they are not one regular stack.
    """
    _require_one_grid(images)
    normal = normal_of(images[0])
    ordered = sorted(images, key=lambda s: (float(s.point @ normal), s.sop_instance_uid))
    slices = _without_copies(ordered, normal)
    return Stack(tuple(slices), _geometry(slices, normal), len(ordered) - len(slices))


def require_one(planes: Iterable[Slice], key: Callable[[Slice], object], reason: Reason, what: str) -> None:
    """Raise SegmenterError when slices differ in something that all must share; the message lists the values."""
    found = sorted({str(key(plane)) for plane in planes})
    if len(found) > 1:
        raise SegmenterError(
            reason, f"the files hold {len(found)} different {what}, expected one: {'; '.join(found[:4])}"
        )
    if not found:
        raise SegmenterError(Reason.TOO_SHORT, "the series holds no images", Verdict.DECLINED)


def normal_of(plane: Slice) -> Vector:
    """Return row direction x column direction, of length one (PS3.3 C.7.6.2.1.1)."""
    normal = np.cross(*plane.axes)
    unit: Vector = normal / (np.linalg.norm(normal) or 1.0)
    return unit


def place(plane: Slice, normal: Vector) -> str:
    """Return a slice's position along the patient axis nearest to the normal, such as `z=-869.8`."""
    axis = int(np.argmax(np.abs(normal)))
    return f"{'xyz'[axis]}={plane.point[axis]:.1f}"


def grid_of(plane: Slice) -> str:
    """Return the pixel grid of a slice, such as `512x512 at 0.78x0.78 mm`."""
    return f"{plane.rows}x{plane.columns} at {'x'.join(f'{float(v):.6g}' for v in plane.spacing)} mm"


def _require_one_grid(images: Sequence[Slice]) -> None:
    require_one(images, lambda s: s.frame_of_reference_uid, Reason.MIXED_FRAME_OF_REFERENCE, "frames of reference")
    require_one(images, grid_of, Reason.MIXED_GRID, "pixel grids")
    first = images[0].axes
    if any(np.abs(plane.axes - first).max() > AXES_TOLERANCE for plane in images):
        raise SegmenterError(
            Reason.MIXED_ORIENTATION,
            "the slices do not all have the same orientation: send each reformation as a separate series",
        )
    if np.abs(first @ first.T - np.eye(2)).max() > AXES_TOLERANCE:
        raise SegmenterError(
            Reason.MISSING_GEOMETRY,
            "ImageOrientationPatient is not valid: expected two perpendicular unit vectors",
        )
    pixels = images[0].rows * images[0].columns
    if pixels > MAX_PIXELS or pixels * len(images) > MAX_VOXELS:
        raise SegmenterError(
            Reason.UNREADABLE,
            f"{len(images)} images of {images[0].rows} x {images[0].columns} pixels are more than a scan can have",
        )
    if min(float(v) for v in images[0].spacing) <= 0:
        raise SegmenterError(Reason.MISSING_GEOMETRY, f"PixelSpacing must be above 0, it is {images[0].spacing}")


def _without_copies(ordered: Sequence[Slice], normal: Vector) -> list[Slice]:
    """Keep one of several slices at one position when their pixels are equal; raise SegmenterError when not."""
    kept: list[Slice] = []
    digests: dict[Path, bytes] = {}
    for plane in ordered:
        if not kept or abs(float((plane.point - kept[-1].point) @ normal)) > SAME_POSITION_MM:
            kept.append(plane)
        elif not same_image(plane, kept[-1], digests):
            raise SegmenterError(
                Reason.DUPLICATE_POSITION,
                f"several different images lie at {place(plane, normal)} mm: "
                "send each reconstruction or phase as a separate series",
            )
    return kept


def same_image(one: Slice, other: Slice, digests: dict[Path, bytes] | None = None) -> bool:
    """Return whether two slices at one position have equal pixels; two frames of one object are two phases.

    digests: of the pixels of files already read, because an enhanced object holds many slices.
    """
    digests = {} if digests is None else digests
    if (one.frame, one.slope, one.intercept) != (other.frame, other.slope, other.intercept):
        return False
    for path in {one.path, other.path} - digests.keys():
        try:
            pixels = parse_file(path).get("PixelData")
        except UNREADABLE as error:
            raise SegmenterError(
                Reason.UNREADABLE,
                f"image {one.sop_instance_uid} cannot be read ({type(error).__name__}): send it again",
            ) from error
        digests[path] = hashlib.sha256(pixels if isinstance(pixels, bytes) else b"").digest()
    return digests[one.path] == digests[other.path]


def _geometry(slices: Sequence[Slice], normal: Vector) -> Geometry:
    """Fit the regular grid to the slices; raises SegmenterError for gaps, uneven steps and shifted slices."""
    points = np.array([plane.point for plane in slices])
    if len(slices) < MIN_SLICES:
        raise SegmenterError(
            Reason.TOO_SHORT,
            f"the series has {len(slices)} slices, it needs at least {MIN_SLICES}",
            Verdict.DECLINED,
        )
    step, start = _even_steps(slices, points @ normal, normal)
    shear, origin = _steady_drift(slices[0], points - np.outer(points @ normal, normal), step)
    along_row, along_column = slices[0].axes
    row_mm, column_mm = (float(value) for value in slices[0].spacing)
    affine = np.eye(4)
    affine[:3, :3] = np.stack([normal * step + shear, along_column * row_mm, along_row * column_mm], axis=1)
    affine[:3, 3] = origin + normal * start
    geometry = Geometry((len(slices), slices[0].rows, slices[0].columns), affine)
    _require_extent(np.round(np.array(geometry.shape) * geometry.distances, 2))
    return geometry


def _require_extent(extent: Vector) -> None:
    if extent.min() < MIN_EXTENT_MM:
        raise SegmenterError(
            Reason.TOO_SHORT,
            f"the scan is {' x '.join(f'{mm:.0f}' for mm in extent)} mm (z, y, x), "
            f"it needs at least {MIN_EXTENT_MM:.0f} mm in each direction",
            Verdict.DECLINED,
        )
    if extent.max() > MAX_EXTENT_MM:
        raise SegmenterError(
            Reason.MISSING_GEOMETRY,
            f"the scan would be {extent.max() / 1000:.0f} m long: PixelSpacing or the positions are wrong",
        )


def _even_steps(slices: Sequence[Slice], depths: Vector, normal: Vector) -> tuple[float, float]:
    """Return the regular step and the first depth, mm; fitted, because every position is rounded."""
    steps = np.diff(depths)
    usual = float(np.median(steps))
    _require_one_step(slices, steps, normal)
    for (before, after), step in zip(pairwise(slices), steps, strict=True):
        if step > 1.5 * usual:
            raise SegmenterError(
                Reason.GAP,
                f"a slice is missing between {place(before, normal)} and {place(after, normal)} mm: "
                f"steps of {usual:.2f} mm, here {step:.2f} mm; send the missing slices",
            )
    index = np.arange(len(depths))
    step, start = (float(value) for value in np.polyfit(index, depths, 1))
    if np.abs(depths - (start + step * index)).max() > STEP_TOLERANCE * step:
        raise SegmenterError(
            Reason.UNEVEN_STEPS,
            f"the slice distances vary from {steps.min():.2f} to {steps.max():.2f} mm: "
            "reconstruct with a constant distance",
        )
    return step, start


def _require_one_step(slices: Sequence[Slice], steps: Vector, normal: Vector) -> None:
    """Raise SegmenterError where the step changes from one part of the scan to the next: no slice is missing then."""
    begins = [0]
    for index in range(1, len(steps)):
        usual = float(np.median(steps[begins[-1] : index]))
        if abs(steps[index] - usual) > max(STEP_CHANGE * usual, ROUNDING_MM):
            begins.append(index)
    parts = [steps[low:high] for low, high in pairwise([*begins, len(steps)])]
    if not 1 < len(parts) <= MAX_PARTS or min(map(len, parts)) < MIN_PART:
        return
    changes = [
        f"from {np.median(before):.2f} to {np.median(after):.2f} mm at {place(slices[index], normal)} mm"
        for (before, after), index in zip(pairwise(parts), begins[1:], strict=True)
    ]
    raise SegmenterError(
        Reason.UNEVEN_STEPS,
        f"the distance of the slices changes {' and '.join(changes)}: reconstruct the series with one distance "
        "throughout",
    )


def _steady_drift(first: Slice, across: Vector, step: float) -> tuple[Vector, Vector]:
    """Return the in-plane shift from each slice to the next, and the in-plane position of the first; LPS mm.

    across: positions `(n, 3)` without their part along the normal. Under a tilted gantry the table moves at an angle
    to the slices' normal, so that every slice is shifted by the same amount.
    """
    # Up to half a pixel, the untilted grid is the best fit.
    tolerance = max(0.5 * min(float(value) for value in first.spacing), 0.1)
    if np.linalg.norm(across - across[0], axis=1).max() <= tolerance:
        return np.zeros(3), across[0]
    index = np.arange(len(across))
    shear, origin = np.polyfit(index, across, 1)
    wander = np.linalg.norm(across - (origin + np.outer(index, shear)), axis=1).max()
    if wander > tolerance:
        raise SegmenterError(
            Reason.SCATTERED,
            f"the slices are up to {wander:.1f} mm off a straight stack: reconstruct them with the same centre",
        )
    tilt = float(np.degrees(np.arctan2(np.linalg.norm(shear), step)))
    if tilt > MAX_TILT_DEGREES:
        raise SegmenterError(
            Reason.GANTRY_TILT,
            f"the slices are stacked {tilt:.1f} degrees off their normal, more than a gantry tilts: "
            "reconstruct the series without tilt",
        )
    return shear, origin
