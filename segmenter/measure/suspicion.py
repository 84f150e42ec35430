"""Detect what falsifies densities: metal in or near the bone, and contrast medium in the vessels in front of it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segmenter.measure.axes import Head
from segmenter.measure.options import MeasureOptions
from segmenter.volume.femur import Femur, Side
from segmenter.volume.geometry import Geometry, box_geometry
from segmenter.volume.masks import bounding_box
from segmenter.volume.resample import OUTSIDE_HU, reduce

VESSEL_STEP_MM = 1.5
VESSEL_BLUR_MM = 1.5  # standard deviation: suppresses noise but not a vessel
MEDIAL_MM, LATERAL_MM = 45.0, 20.0  # from the head's centre: where the femoral vessels cross the groin
FRONT_MM = (10.0, 75.0)
ABOVE_MM, BELOW_MM = 15.0, 75.0
SECTION_MM2 = (20.0, 350.0)  # of one vessel
ROUND = 0.3  # share of the circle around a section that it fills; artery and vein side by side are not round
STRAY_MM = 3.0  # from one slice to the next

IMPLANT_MM3 = 1000.0  # above the HU of metal: a screw of the neck is twice that, a clip or a wire much less
APART_MM = 90.0  # from the middle of one femur to what belongs to the other side


def metal_near(mask: NDArray[np.bool_], volume: NDArray[Any], geometry: Geometry, how: MeasureOptions) -> bool:
    """Return whether a cluster too bright for bone lies in or near a femur; mask and volume (HU): `(z, y, x)`.

    Dense cortex reaches 1500 to 1900 HU and noise exceeds it in single voxels, so a connected cluster is required.
    """
    margin = [int(np.ceil(how.near_mm / mm)) for mm in geometry.spacing]
    box = tuple(slice(max(at.start - m, 0), at.stop + m) for at, m in zip(bounding_box(mask), margin, strict=True))
    bright = volume[box] > how.metal_hu
    if np.count_nonzero(bright) * geometry.voxel_volume_mm3 < how.metal_mm3:
        return False
    pieces, _ = ndimage.label(bright)
    return bool(np.bincount(pieces.ravel())[1:].max() * geometry.voxel_volume_mm3 >= how.metal_mm3)


def metal_elsewhere(femurs: Sequence[Femur], volume: NDArray[Any], geometry: Geometry, how: MeasureOptions) -> str:
    """Return a warning if metal, perhaps an implant, lies on a side where no femur was segmented; empty if not.

    femurs: with both segmented there is no such side. volume: HU `(z, y, x)` on `geometry`.
    """
    segmented = [femur for femur in femurs if femur.mask.any()]
    if len(segmented) > 1:
        return ""
    # Metal counts whose x times `outwards` is greater than this.
    outwards, beyond, where, missing = 1.0, -np.inf, "in the scan", "femur"
    for femur in segmented:
        other, outwards = (Side.RIGHT, -1.0) if femur.side is Side.LEFT else (Side.LEFT, 1.0)
        beyond = outwards * geometry.to_patient(np.argwhere(femur.mask))[:, 0].mean() + APART_MM
        where, missing = "on that side", f"{other} femur"
    voxels = 0
    for number, plane in enumerate(volume):
        metal = np.argwhere(plane > how.metal_hu)
        if len(metal):
            across = geometry.to_patient(np.insert(metal, 0, number, axis=1))[:, 0]
            voxels += int(np.count_nonzero(outwards * across > beyond))
    if voxels * geometry.voxel_volume_mm3 < IMPLANT_MM3:
        return ""
    return f"no {missing} was segmented, and there is metal {where}: an implant may be the reason"


def bright_vessels(head: Head, femur: Femur, volume: NDArray[Any], geometry: Geometry, how: MeasureOptions) -> bool:
    """Return whether a bright tube runs in front of the hip, as the femoral vessels do with contrast medium.

    In every axial plane, round sections between the two HU limits that are brightest in the centre are searched (a
    section of bone is darker there); one that continues from plane to plane is a vessel.
    """
    to_medial = -1.0 if femur.side is Side.LEFT else 1.0
    reach = np.sort([to_medial * MEDIAL_MM, -to_medial * LATERAL_MM])
    low = head.centre + np.array((reach[0], -FRONT_MM[1], -BELOW_MM))
    high = head.centre + np.array((reach[1], -FRONT_MM[0], ABOVE_MM))
    grid = box_geometry(low, high, VESSEL_STEP_MM)
    blur = VESSEL_BLUR_MM / VESSEL_STEP_MM
    hu = ndimage.gaussian_filter(reduce(volume, geometry, grid, OUTSIDE_HU), blur, mode="nearest")
    bone = reduce(femur.mask, geometry, grid, 0.0) > 0.05
    longest = _longest_chain([_sections(plane, taken, how) for plane, taken in zip(hu, bone, strict=True)])
    return longest * VESSEL_STEP_MM >= how.vessel_length_mm


def _sections(plane: NDArray[np.float32], bone: NDArray[np.bool_], how: MeasureOptions) -> list[NDArray[np.float64]]:
    """Return the centres `(2,)`, mm, of the sections that may be vessels in a plane `(y, x)`."""
    bright = plane > how.vessel_low_hu
    pieces, count = ndimage.label(bright)
    border = np.ones(plane.shape, bool)
    border[1:-1, 1:-1] = False
    others = set(np.unique(pieces[border | bone]).tolist())
    found = []
    for number in sorted(set(range(1, count + 1)) - others):
        index = np.argwhere(pieces == number)
        middle = index.mean(axis=0)
        area = len(index) * VESSEL_STEP_MM**2
        radius = (np.linalg.norm(index - middle, axis=1).max() + 0.5) * VESSEL_STEP_MM
        values = plane[tuple(index.T)]
        core = plane[tuple(np.rint(middle).astype(int))]
        fits = SECTION_MM2[0] <= area <= SECTION_MM2[1] and area >= ROUND * np.pi * radius**2
        if fits and values.max() <= how.vessel_high_hu and core >= values.mean():
            found.append(middle * VESSEL_STEP_MM)
    return found


def _longest_chain(planes: list[list[NDArray[np.float64]]]) -> int:
    """Return the largest number of successive planes in which a section can be followed."""
    longest, before = 0, [(middle, 1) for middle in planes[0]]
    for plane in planes[1:]:
        now = []
        for middle in plane:
            length = 1 + max((n for last, n in before if np.linalg.norm(middle - last) <= STRAY_MM), default=0)
            now.append((middle, length))
            longest = max(longest, length)
        before = now
    return longest
