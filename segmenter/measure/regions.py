"""The measurements of a region: volume, Hounsfield units, and density if calibrated."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segmenter.density.calibration import Calibration
from segmenter.measure.anatomy import Anatomy
from segmenter.measure.compartments import cortical, depth_below_surface
from segmenter.measure.neck import in_slab
from segmenter.measure.options import MeasureOptions
from segmenter.measure.records import Plane, Region
from segmenter.volume.geometry import Geometry, Matrix
from segmenter.volume.masks import bounding_box

NEAR_AXIS_MM = 5.0  # the neck is the piece of the slab through which its axis runs


@dataclass(frozen=True, eq=False)
class Voxels:
    """The voxels of one femur in array order. mask: bool `(z, y, x)` of its bounding box; hu `(n,)`; points `(n, 3)`.

    voxel_mm3: the volume of each.
    """

    mask: NDArray[np.bool_]
    hu: NDArray[np.float64]
    points: Matrix
    voxel_mm3: float

    @classmethod
    def of(cls, mask: NDArray[np.bool_], volume: NDArray[np.generic], geometry: Geometry) -> "Voxels":
        """Return the voxels of a mask, not empty, with their HU; mask and volume `(z, y, x)` on `geometry`."""
        box = bounding_box(mask)
        part = mask[box]
        points = geometry.to_patient(np.argwhere(part) + [at.start for at in box])
        return cls(part, volume[box][part].astype(np.float64), points, geometry.voxel_volume_mm3)


def region_of(name: str, voxels: Voxels, calibration: Calibration, chosen: NDArray[np.bool_] | None = None) -> Region:
    """Return the region of the chosen voxels `(n,)`, None = all; voxels of any density count, zero or below, too."""
    hu = voxels.hu if chosen is None else voxels.hu[chosen]
    volume_ml = len(hu) * voxels.voxel_mm3 / 1000
    mean = float(hu.mean())
    if not calibration.usable:
        return Region(name, volume_ml, len(hu), mean, float(hu.std()))
    density = float(calibration.density(mean))  # a line: the mean of densities is the density of the mean
    bmc_g = density * volume_ml / 1000
    return Region(name, volume_ml, len(hu), mean, float(hu.std()), density, bmc_g, calibration.material)


def regions(
    voxels: Voxels, anatomy: Anatomy, calibration: Calibration, plane: Plane | None, how: MeasureOptions
) -> Iterator[Region]:
    """Yield the regions of one femur that are defined: integral, cortical, trabecular, total, neck."""
    yield region_of("integral", voxels, calibration)
    outer = cortical_voxels(voxels, anatomy, calibration, how)
    for name, chosen in (("cortical", outer), ("trabecular", ~outer)):
        if chosen.any():
            yield region_of(name, voxels, calibration, chosen)
    if plane is not None:
        above = (voxels.points - np.array(plane.point_mm)) @ np.array(plane.normal) <= 0
        yield region_of("total", voxels, calibration, above)
    if anatomy.neck is not None and not anatomy.neck.problems:
        neck = neck_voxels(voxels, anatomy, how)
        if neck.any():
            yield region_of("neck", voxels, calibration, neck)


def cortical_voxels(
    voxels: Voxels, anatomy: Anatomy, calibration: Calibration, how: MeasureOptions
) -> NDArray[np.bool_]:
    """Return which voxels `(n,)` are cortical; the others are trabecular."""
    reach = max(how.cortical_depth_mm, how.cortical_peel_mm)
    down = anatomy.shaft.down if anatomy.shaft else None
    depth = depth_below_surface(anatomy.body, voxels.points, reach, down)
    if calibration.usable:
        dense = calibration.density(voxels.hu) >= how.cortical_threshold_mg_cm3
    else:
        dense = voxels.hu >= how.cortical_threshold_hu
    return cortical(voxels.mask, depth, dense, how.cortical_peel_mm, how.cortical_depth_mm)[voxels.mask]


def neck_voxels(voxels: Voxels, anatomy: Anatomy, how: MeasureOptions) -> NDArray[np.bool_]:
    """Return which voxels `(n,)` are the neck's: the connected part of its slab around the axis."""
    neck = anatomy.neck
    assert neck is not None
    slab = in_slab(voxels.points, neck, how.neck_length_mm)
    axis, offset = np.array(neck.axis), voxels.points - np.array(neck.centre_mm)
    middle = slab & (np.linalg.norm(offset - (offset @ axis)[:, None] * axis, axis=1) < NEAR_AXIS_MM)
    pieces, count = ndimage.label(_spread(slab, voxels.mask))
    kept = np.zeros(count + 1, bool)
    kept[pieces[voxels.mask][middle]] = True
    kept[0] = False
    result: NDArray[np.bool_] = kept[pieces[voxels.mask]]
    return result


def _spread(chosen: NDArray[np.bool_], mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return chosen voxels `(n,)` of a mask in its box `(z, y, x)`."""
    result = np.zeros(mask.shape, bool)
    result[mask] = chosen
    return result
