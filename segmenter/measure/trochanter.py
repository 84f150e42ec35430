"""The lesser trochanter: the bump on the posteromedial surface of the shaft, below the head."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, signal

from segmenter.measure.axes import Head, Shaft, Vector
from segmenter.measure.surface import Body
from segmenter.volume.femur import Side

BIN_MM = 2.0
BIN_DEG = 10.0
SECTOR_DEG = (10.0, 120.0)  # from medial (where the head is) towards the back
# Below the head's centre along the shaft, in radii of the head; of a varus hip the tip is at 1.3.
DEPTH_RADII = (0.6, 4.0)
WINDOW_MM = 60.0  # the bump is compared with the surface within this distance
MIN_PROMINENCE_MM = 6.0  # in 70 bones it was 8.7 or more
MIN_BELOW_MM = 10.0  # length of bone required below it to see its lower slope


@dataclass(frozen=True, eq=False)
class Trochanter:
    """The tip of a lesser trochanter, LPS mm; below_head_mm: along the shaft from the head's centre.

    prominence_mm: its height over the surface above and below it, the smaller of both.
    """

    tip: Vector
    below_head_mm: float
    prominence_mm: float


def frame(head: Head, shaft: Shaft, side: Side) -> tuple[Vector, Vector]:
    """Return the medial and posterior unit vectors of a femur, both perpendicular to its shaft."""
    across = head.centre - shaft.point
    across = across - across @ shaft.down * shaft.down
    medial = across / np.linalg.norm(across)
    turn = 1.0 if side is Side.LEFT else -1.0
    return medial, turn * np.cross(shaft.down, medial)


def find_lesser_trochanter(body: Body, head: Head, shaft: Shaft, side: Side) -> Trochanter | str:
    """Return the lesser trochanter, or the reason why it was not found.

    The surface is converted to a map of its distance from the shaft's axis over angle and height. In every angle of the
    sector the bump is a peak along the height; the most prominent one is used.
    """
    medial, back = frame(head, shaft, side)
    vertices = body.surface.vertices[~body.cut]
    offset = vertices - shaft.point
    angle = np.degrees(np.arctan2(offset @ back, offset @ medial))
    depth = (vertices - head.centre) @ shaft.down
    first, last = (share * head.radius for share in DEPTH_RADII)
    near = (angle > SECTOR_DEG[0]) & (angle < SECTOR_DEG[1]) & (depth > first) & (depth < last)
    if not near.any():
        return "the scan ends above the lesser trochanter"
    radius = np.linalg.norm(offset - (offset @ shaft.down)[:, None] * shaft.down, axis=1)
    heights = _map(angle[near] - SECTOR_DEG[0], depth[near] - first, radius[near])
    best, at = 0.0, (0, 0)
    for number, profile in enumerate(heights):
        peaks, found = signal.find_peaks(profile, prominence=0.0, wlen=round(WINDOW_MM / BIN_MM))
        for peak, prominence in zip(peaks, found["prominences"], strict=True):
            if prominence > best:
                best, at = float(prominence), (number, int(peak))
    if best < MIN_PROMINENCE_MM:
        return f"no prominence of {MIN_PROMINENCE_MM:g} mm on the back of the shaft"
    below = first + (at[1] + 0.5) * BIN_MM
    if depth.max() - below < MIN_BELOW_MM:
        return "the scan ends at the lesser trochanter"
    turn = np.radians(SECTOR_DEG[0] + (at[0] + 0.5) * BIN_DEG)
    on_axis = shaft.point + ((head.centre - shaft.point) @ shaft.down + below) * shaft.down
    tip = on_axis + heights[at] * (np.cos(turn) * medial + np.sin(turn) * back)
    return Trochanter(tip, float(below), best)


def _map(angle: NDArray[np.float64], depth: NDArray[np.float64], radius: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the greatest radius per bin of angle and depth `(a, d)`, both from 0 on, gently smoothed."""
    row, column = (angle / BIN_DEG).astype(int), (depth / BIN_MM).astype(int)
    result = np.zeros((row.max() + 1, column.max() + 1))
    np.maximum.at(result, (row, column), radius)
    smooth: NDArray[np.float64] = ndimage.gaussian_filter(result, (0.5, 1.0), mode="nearest")
    return smooth
