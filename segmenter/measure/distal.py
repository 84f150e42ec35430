"""The configured distal end: femurs cut perpendicular to the shaft, so that volumes of scans are comparable."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from segmenter.measure.axes import find_head, find_shaft
from segmenter.measure.surface import body_of
from segmenter.volume.femur import Femur
from segmenter.volume.geometry import Geometry, Matrix
from segmenter.volume.masks import clean

PROXIMAL_MM = 100.0  # head, neck and trochanters; below lies the shaft
MIN_SHAFT_MM = 45.0  # a stump not much longer than wide has no defined long axis


def shorten(femur: Femur, geometry: Geometry, length_mm: float) -> tuple[Femur, str | None]:
    """Return the femur cut `length_mm` below the top of its head, along its shaft.

    The second value is a warning if the scan ends above the cut. The mask is on `geometry`.
    """
    index = np.argwhere(femur.mask)
    down, top = top_and_down(clean(femur.mask), geometry)  # a manual outline may have stray voxels
    depth = geometry.to_patient(index) @ down - top
    beyond = index[depth > length_mm]
    if not len(beyond):
        held = f"the scan holds {depth.max():.0f} mm of it, less than the {length_mm:g} mm asked for"
        return femur, f"{femur.side} femur: {held}"
    mask = femur.mask.copy()
    mask[tuple(beyond.T)] = False
    return replace(femur, mask=mask), None


def top_and_down(mask: NDArray[np.bool_], geometry: Geometry) -> tuple[NDArray[np.float64], float]:
    """Return the unit vector down the shaft of a femur, and the position of the top of its head along it, LPS mm.

    The same as for the total region; if no head is found, from the bone as a whole.
    """
    body = body_of(mask, geometry)
    head = find_head(body)
    shaft = None if head.problems else find_shaft(body, head)
    if shaft is not None:
        return shaft.down, float(head.centre @ shaft.down) - head.radius
    points = geometry.to_patient(np.argwhere(mask))
    down = shaft_direction(points)
    return down, float((points @ down).min())


def shaft_direction(points: Matrix) -> NDArray[np.float64]:
    """Return the unit vector down the shaft of a femur given by its voxels `(n, 3)`, LPS mm.

    The long axis of the whole bone is inclined towards the head; a long enough shaft gives its own axis.
    """
    whole = long_axis(points)
    along = points @ whole
    depth = along - along.min()
    shaft = points[depth > PROXIMAL_MM]
    return long_axis(shaft) if depth.max() > PROXIMAL_MM + MIN_SHAFT_MM else whole


def long_axis(points: Matrix) -> NDArray[np.float64]:
    """Return the first principal axis of points `(n, 3)`, pointing towards the patient's feet."""
    _, _, axes = np.linalg.svd(np.cov((points - points.mean(axis=0)).T))
    axis: NDArray[np.float64] = axes[0] if axes[0, 2] < 0 else -axes[0]
    return axis
