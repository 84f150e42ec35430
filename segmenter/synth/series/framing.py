"""The field of view of a synthetic scan, and the order in which its voxels are stored."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from segmenter.synth.femur_field import FemurField
from segmenter.synth.patient import PROXIMAL_DEPTH_MM, Patient
from segmenter.synth.series.options import Crop, Position, SyntheticSeriesOptions
from segmenter.volume.geometry import Geometry

ABOVE_HEAD_MM = 30.0
CUT_ABOVE_CENTRE = 0.2  # of the head's radius: upper end of a scan that cuts the head
LESSER_ABOVE_SHAFT_MM = 42.0  # the lesser trochanter lies this far above the landmark on the shaft
BELOW_BODY_MM = 20.0  # the field is moved towards the table, so that the calibration phantom is in it
NARROW_MM = 400.0  # a field of view below this is centred on the hips

Scalar = TypeVar("Scalar", bound=np.generic)


def scan_geometry(patient: Patient, options: SyntheticSeriesOptions) -> Geometry:
    """Return the grid of the scan along the patient's axes: from above the higher head downwards."""
    wanted = [f for side, f in patient.femurs.items() if options.hip in (None, side)]
    marks = [femur.landmarks for femur in wanted]
    if options.crop is Crop.HEAD:
        top = min(m.head_centre[2] + CUT_ABOVE_CENTRE * m.head_radius for m in marks)
    else:
        top = max(m.head_centre[2] + m.head_radius for m in marks) + ABOVE_HEAD_MM
    slices, step = options.slices, options.slice_step_mm
    if options.crop is Crop.SHAFT:
        bottom = max((m.shaft - LESSER_ABOVE_SHAFT_MM * m.down)[2] for m in marks)
        slices = min(slices, int((top - bottom) / step) + 1)
    low = top - (slices - 1) * step
    if options.hip or options.field_mm < NARROW_MM:
        points = np.vstack([inside_points(femur) for femur in wanted])
        shown = points[(points[:, 2] > low) & (points[:, 2] < top)]
        if not len(shown):
            raise ValueError(f"{slices} slices of {step:g} mm do not reach the bone: ask for more of them")
        middle = (shown.min(axis=0) + shown.max(axis=0)) / 2
    else:
        middle = (patient.low + patient.high) / 2 + [0, BELOW_BODY_MM * options.position.signs[1], 0]
    corner = middle - options.pixel_mm * (options.size - 1) / 2
    origin = (round(corner[0], 3), round(corner[1], 3), round(low, 3))
    return Geometry.axial((slices, options.size, options.size), (step, options.pixel_mm, options.pixel_mm), origin)


def inside_points(femur: FemurField, depth_mm: float = np.inf) -> NDArray[np.float64]:
    """Return the nodes `(n, 3)` of a femur's field inside the bone down to a depth, LPS mm."""
    return femur.geometry.to_patient(np.argwhere((femur.distance < 0) & (femur.depth < depth_mm)))


def circle(geometry: Geometry) -> NDArray[np.bool_]:
    """Return the pixels `(y, x)` of the largest circle in a slice: outside it nothing is reconstructed."""
    rows, columns = geometry.shape[1:]
    y, x = np.ogrid[:rows, :columns]
    inside: NDArray[np.bool_] = np.hypot(y - (rows - 1) / 2, x - (columns - 1) / 2) <= min(rows, columns) / 2
    return inside


def proximal_share(femur: FemurField, geometry: Geometry, shown: NDArray[np.bool_]) -> float:
    """Return the share of a proximal femur, head to lesser trochanter, that lies in the scan; shown: pixels."""
    index = np.rint(geometry.to_index(inside_points(femur, PROXIMAL_DEPTH_MM))).astype(int)
    index = index[((index >= 0) & (index < geometry.shape)).all(axis=1)]
    total = int(((femur.distance < 0) & (femur.depth < PROXIMAL_DEPTH_MM)).sum())
    return float(shown[index[:, 1], index[:, 2]].sum()) / total


def stored(values: NDArray[Scalar], position: Position) -> NDArray[Scalar]:
    """Return a slice `(y, x)` or volume `(z, y, x)` along the patient's axes in the order a scanner stores it."""
    return values[tuple(slice(None, None, sign) for sign in position.signs[-values.ndim :])]


def stored_grid(geometry: Geometry, position: Position) -> Geometry:
    """Return the grid of a volume in stored order."""
    first = [0 if sign > 0 else n - 1 for sign, n in zip(position.signs, geometry.shape, strict=True)]
    affine = geometry.affine.copy()
    affine[:3, :3] *= position.signs
    affine[:3, 3] = geometry.to_patient(np.array(first))
    return Geometry(geometry.shape, affine)
