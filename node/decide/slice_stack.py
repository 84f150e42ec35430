"""The geometry of the slices of a series along their normal: places, length and gaps, from headers only."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from statistics import median

from node.records.instances import Header

AXES_TOLERANCE = 1e-3  # of direction cosines
GAP = 1.5  # usual steps; scanners round positions to a decimal, which makes thin steps wander by several per cent
SAME_POSITION_MM = 0.01

# The distance of the slices changes, and no slice is missing, where a few parts of so many steps have one each.
STEP_CHANGE, ROUNDING_MM, MIN_PART, MAX_PARTS = 0.15, 0.15, 3, 4

Vector = tuple[float, float, float]
Place = tuple[float, Vector]
"""Coordinate along the normal in mm, and position."""


@dataclass(frozen=True)
class Gap:
    """Missing slices. first: the place of the first of them, counted along the normal from 1 at the lower end.

    low, high: coordinates of the neighbours along the patient axis that the normal is nearest to, mm.
    """

    first: int
    missing: int
    axis: str
    low: float
    high: float

    @property
    def sentence(self) -> str:
        """Say which slices are missing where."""
        last = self.first + self.missing - 1
        what = f"slice {self.first} is" if self.missing == 1 else f"slices {self.first} to {last} are"
        return f"{what} missing between {self.axis}={self.low:.1f} and {self.axis}={self.high:.1f} mm"


@dataclass(frozen=True)
class Stack:
    """slices: different positions. length: from the first to the last position along the normal, mm.

    gaps: slices that are missing. change: a sentence where the distance of the slices changes instead.
    """

    slices: int
    length: float
    gaps: tuple[Gap, ...]
    change: str = ""


def without_tracking(images: Sequence[Header]) -> list[Header]:
    """Return the images without the acquisitions that stay at one place, such as bolus tracking.

    All of them, where every acquisition does: a sequential scan may number each slice.
    """
    by_acquisition: dict[int | None, list[Header]] = defaultdict(list)
    for image in images:
        by_acquisition[image.acquisition].append(image)
    moving = [part for part in by_acquisition.values() if stacked(part).slices > 1]
    return list(chain(*moving)) or list(images)


def stacked(images: Sequence[Header]) -> Stack:
    """Sort the images along the normal, never by Instance Number; all have a position and the same orientation."""
    normal = slice_normal(images[0].orientation or ())
    places = slice_places(images, normal)
    steps = [(low, high, high[0] - low[0]) for low, high in pairwise(places)]
    usual = median(step for _, _, step in steps) if steps else 0.0
    axis = max(range(3), key=lambda i: abs(normal[i]))
    gaps, place = [], 1
    for low, high, step in steps:
        missing = max(round(step / usual) - 1, 1) if step > GAP * usual else 0
        if missing:
            gaps.append(Gap(place + 1, missing, "xyz"[axis], low[1][axis], high[1][axis]))
        place += 1 + missing
    change = _change(steps, axis)
    return Stack(len(places), places[-1][0] - places[0][0], () if change else tuple(gaps), change)


def _change(steps: Sequence[tuple[Place, Place, float]], axis: int) -> str:
    """Say where the distance of the slices changes, if they form a few parts of several steps with one distance each.

    No slice is missing then. Empty if they do not.
    """
    parts: list[list[tuple[Place, Place, float]]] = [[]]
    for step in steps:
        usual = median(mm for _, _, mm in parts[-1]) if parts[-1] else step[2]
        if abs(step[2] - usual) > max(STEP_CHANGE * usual, ROUNDING_MM):
            parts.append([])
        parts[-1].append(step)
    if not 1 < len(parts) <= MAX_PARTS or min(map(len, parts)) < MIN_PART:
        return ""
    changes = [
        f"from {median(mm for *_, mm in before):.2f} to {median(mm for *_, mm in after):.2f} mm "
        f"at {'xyz'[axis]}={after[0][0][1][axis]:.1f} mm"
        for before, after in pairwise(parts)
    ]
    return f"the distance of the slices changes {' and '.join(changes)}"


def differ(one: Sequence[float], other: Sequence[float]) -> bool:
    """Tell whether two orientations are more than rounding apart."""
    return any(abs(a - b) > AXES_TOLERANCE for a, b in zip(one, other, strict=True))


def slice_places(images: Sequence[Header], normal: Vector) -> list[Place]:
    """Return the different places of the images: coordinate along the normal in mm, in order, and position."""
    places: list[Place] = []
    for place in sorted((_dot(image.position, normal), image.position) for image in images if image.position):
        if not places or place[0] - places[-1][0] > SAME_POSITION_MM:
            places.append(place)
    return places


def slice_normal(orientation: Sequence[float]) -> Vector:
    """Return row direction x column direction, the normal of the slices (PS3.3 C.7.6.2.1.1)."""
    (a, b, c), (d, e, f) = orientation[:3], orientation[3:]
    return b * f - c * e, c * d - a * f, a * e - b * d


def _dot(one: Sequence[float], other: Vector) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))
