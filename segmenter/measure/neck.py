"""The femoral neck: the axis from the head's centre through the narrowest section between head and trochanters."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segmenter.measure.axes import Head, Shaft, Vector, triple
from segmenter.measure.records import Neck
from segmenter.measure.surface import Body
from segmenter.measure.trochanter import frame
from segmenter.volume.femur import Side
from segmenter.volume.geometry import Matrix

START_DEG = 127.0  # neck-shaft angle where the search begins
REACH_RADII = (0.8, 2.4)  # range of the narrowest section, from the head's centre
STEP_MM = 1.0
HALF_WIDTH_MM = 45.0
ROUNDS = 8
STILL = 1e-3  # rad: smallest change of the axis before the search ends
WAIST = 1.15  # times the narrowest section: a parabola through such areas gives the position

ANGLE_DEG = (105.0, 155.0)
AREA_MM2 = (250.0, 2000.0)
AREA_OF_HEAD = (0.2, 0.9)  # of the head's greatest section


@dataclass(frozen=True, eq=False)
class _Waist:
    distance: float  # from the head's centre, mm
    area_mm2: float
    middle: Vector
    at_end: bool


def find_neck(body: Body, head: Head, shaft: Shaft, side: Side) -> Neck:
    """Return the neck; `problems` are the checks that failed."""
    medial, _ = frame(head, shaft, side)
    start = np.radians(START_DEG)
    away = -np.cos(start) * shaft.down - np.sin(start) * medial
    waist = None
    for _ in range(ROUNDS):
        waist = _waist(body, head, away)
        if waist is None:
            break
        turned = waist.middle - head.centre
        turned /= np.linalg.norm(turned)
        moved = np.linalg.norm(turned - away)
        away = turned
        if moved < STILL:
            break
    angle = float(np.degrees(np.arccos(np.clip(-away @ shaft.down, -1, 1))))
    centre = head.centre + (waist.distance if waist else 0.0) * away
    problems = head.problems + _problems(body, head, waist, away, angle)
    return Neck(triple(centre), triple(-away), angle, waist.area_mm2 if waist else 0.0, problems)


def _waist(body: Body, head: Head, away: Vector) -> _Waist | None:
    """Return the narrowest section across an axis from the head's centre; None if the axis leaves the bone."""
    distances = np.arange(REACH_RADII[0] * head.radius, REACH_RADII[1] * head.radius, STEP_MM)
    right, up = across(away)
    line = np.arange(-HALF_WIDTH_MM, HALF_WIDTH_MM + STEP_MM / 2, STEP_MM)
    flat = line[:, None, None] * right + line[None, :, None] * up
    inside = body.holds(head.centre + distances[:, None, None, None] * away + flat)
    found = [_middle_piece(section) for section in inside]
    areas = np.array([np.count_nonzero(piece) for piece in found], float)
    if not areas.all():
        areas = areas[: int(np.flatnonzero(areas == 0)[0])]  # sections outside the bone are empty
    if len(areas) < 2:
        return None
    narrowest = int(areas.argmin())
    waist = np.flatnonzero(areas <= WAIST * areas[narrowest])
    waist = waist[np.abs(waist - narrowest) * STEP_MM <= head.radius / 2]
    middles = [head.centre + distances[n] * away + flat[found[n]].mean(axis=0) for n in waist]
    at_end = narrowest in (0, len(areas) - 1)
    distance, area = _lowest(distances[waist], areas[waist] * STEP_MM**2)
    return _Waist(distance, area, np.mean(middles, axis=0), at_end)


def _lowest(distances: NDArray[np.float64], areas: NDArray[np.float64]) -> tuple[float, float]:
    """Return position and area at the minimum of the parabola through the areas, or else the smallest area."""
    if len(distances) > 2:
        middle = distances.mean()
        bend, slope, level = np.polyfit(distances - middle, areas, 2)
        if bend > 0 and abs(slope / (2 * bend)) <= np.ptp(distances) / 2:
            return float(middle - slope / (2 * bend)), float(level - slope**2 / (4 * bend))
    least = int(areas.argmin())
    return float(distances[least]), float(areas[least])


def across(axis: Vector) -> tuple[Vector, Vector]:
    """Return two unit vectors perpendicular to an axis and to each other."""
    other = np.eye(3)[np.abs(axis).argmin()]
    right = np.cross(axis, other)
    right /= np.linalg.norm(right)
    return right, np.cross(axis, right)


def _middle_piece(section: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the connected piece at the centre of a section `(u, v)`; empty if the centre is outside."""
    pieces, _ = ndimage.label(section)
    number = pieces[section.shape[0] // 2, section.shape[1] // 2]
    return (pieces == number) & section if number else np.zeros_like(section)


def _problems(body: Body, head: Head, waist: _Waist | None, away: Vector, angle: float) -> tuple[str, ...]:
    if waist is None:
        return ("the axis leaves the bone at the head",)
    found = []
    if not ANGLE_DEG[0] <= angle <= ANGLE_DEG[1]:
        found.append(f"the neck-shaft angle of {angle:.0f} degrees is not plausible")
    if waist.at_end:
        found.append("no narrowest section was found between head and trochanters")
    share = waist.area_mm2 / (np.pi * head.radius**2)
    if not (AREA_MM2[0] <= waist.area_mm2 <= AREA_MM2[1] and AREA_OF_HEAD[0] <= share <= AREA_OF_HEAD[1]):
        found.append(
            f"the narrowest section of {waist.area_mm2:.0f} mm2, {100 * share:.0f} % of the head's, is not plausible"
        )
    along = np.arange(0.0, waist.distance + head.radius / 2, STEP_MM)
    if not body.holds(head.centre + along[:, None] * away).all():
        found.append("the axis leaves the bone")
    return tuple(found)


def in_slab(points: Matrix, neck: Neck, length_mm: float) -> NDArray[np.bool_]:
    """Return which points `(n, 3)`, LPS mm, lie in the slab of this length across the neck's axis."""
    offset: NDArray[np.float64] = (points - np.array(neck.centre_mm)) @ np.array(neck.axis)
    return np.abs(offset) <= length_mm / 2
