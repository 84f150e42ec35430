"""The position of a femur's head and the axis of its shaft, from its shape alone, in any posture."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segmenter.measure.surface import Body
from segmenter.volume.geometry import Matrix

Vector = NDArray[np.float64]

COARSE_STEP = 2  # of the body's grid steps, for the search of the head
SHELL_MM = (4.0, 3.0, 2.0, 2.0, 2.0)  # largest distance of a vertex from the sphere, round by round
NECK_CONE = 0.5  # cosine: within 60 degrees of the direction of the shaft the head is not spherical
RADII_MM = (17.0, 32.0)  # of heads of adults
SMALL_MM = 18.0  # the smallest heads of women, 37 mm across, are larger
MAX_RESIDUAL_MM = 1.0
MIN_COVERED = 0.8
SKIN_MM = 2.5  # the sphere's surface lies between bone at this depth and no bone at this height
DIRECTIONS = 600

CANDIDATES = 4  # separate inscribed balls: in a cut bone the largest need not be the head
CANDIDATE_SHARE = 0.75  # of the largest ball's radius

CLEAR_MM = 72.0  # from the head's centre: beyond it lies only shaft, except the lower slope of the lesser trochanter
WALL_COSINES = (
    0.8,
    0.6,
    0.5,
    0.4,
    0.4,
)  # of a wall's normal with the axis, round by round: excludes cut ends and slopes
MIN_WALL = 200  # vertices, some millimetres of shaft all around
BIN_MM = 3.0
LONG_SHAFT_MM = 50.0  # from this length the centres of its sections give its direction better than its walls
STUMP_MM = 9.0  # length of the lower end that gives the axis of a short shaft
SURE_SHAFT_MM = 30.0  # the direction of a shorter one may be off by more than about 5 degrees
FULL_BIN = 0.8  # of the usual section: bins cut by an oblique end of the scan hold less
ROUNDS = 3


@dataclass(frozen=True, eq=False)
class Head:
    """The sphere of the femoral head: centre LPS mm, radius and RMS distance of its surface from the bone's in mm.

    covered: share of its surface, away from the neck, that coincides with the bone's.
    """

    centre: Vector
    radius: float
    residual_mm: float
    covered: float

    @property
    def small(self) -> bool:
        """Whether it is round and smaller than an adult's."""
        return self.radius < SMALL_MM and self.residual_mm <= MAX_RESIDUAL_MM and self.covered >= MIN_COVERED

    @property
    def problems(self) -> tuple[str, ...]:
        """Why it is not reliable; empty if it is a head."""
        found = []
        if not RADII_MM[0] <= self.radius <= RADII_MM[1]:
            found.append(f"the head's radius of {self.radius:.0f} mm is not plausible")
        if self.residual_mm > MAX_RESIDUAL_MM:
            found.append(f"the head is not spherical: {self.residual_mm:.1f} mm off a sphere")
        if self.covered < MIN_COVERED:
            found.append(f"only {100 * self.covered:.0f} % of the head's surface is visible")
        return tuple(found)


@dataclass(frozen=True, eq=False)
class Shaft:
    """The shaft's axis: a point on it (LPS mm) and the unit vector down it; length_mm: in the scan."""

    point: Vector
    down: Vector
    length_mm: float

    @property
    def sure(self) -> bool:
        """Whether enough of it is in the scan for an accurate direction."""
        return self.length_mm >= SURE_SHAFT_MM


def find_head(body: Body) -> Head:
    """Return the best sphere, fitted from the largest balls inscribed in the bone."""
    found = [_grown(body, centre, radius) for centre, radius in _balls(body)]
    return max(found, key=lambda head: (not head.problems, head.covered))


def _balls(body: Body) -> list[tuple[Vector, float]]:
    """Return centre and radius of the largest separate balls inscribed in the bone."""
    coarse = np.pad(body.share[::COARSE_STEP, ::COARSE_STEP, ::COARSE_STEP] > body.level, 1)
    step = COARSE_STEP * body.grid.spacing[0]
    depth = ndimage.distance_transform_edt(coarse) * step
    index = np.argwhere(depth > CANDIDATE_SHARE * depth.max())
    radii, centres = depth[tuple(index.T)], body.grid.to_patient((index - 1) * COARSE_STEP)
    return separate(centres, radii)


def separate(centres: Matrix, radii: NDArray[np.float64]) -> list[tuple[Vector, float]]:
    """Return the largest of the balls, CANDIDATES at most, none with its centre inside a larger one."""
    balls: list[tuple[Vector, float]] = []
    while len(radii) and len(balls) < CANDIDATES:
        first = int(radii.argmax())
        balls.append((centres[first], float(radii[first])))
        apart = np.linalg.norm(centres - centres[first], axis=1) > radii[first]
        radii, centres = radii[apart], centres[apart]
    return balls


def _grown(body: Body, centre: Vector, radius: float) -> Head:
    """Return the sphere fitted to the surface around a ball."""
    vertices = body.surface.vertices
    away = vertices.mean(axis=0) - centre
    away = away / max(np.linalg.norm(away), 1e-9)
    chosen = vertices
    for shell in SHELL_MM:
        offset = vertices - centre
        distance = np.linalg.norm(offset, axis=1)
        near = (np.abs(distance - radius) < shell) & (offset @ away < NECK_CONE * distance)
        if np.count_nonzero(near) < MIN_WALL:
            break
        chosen = vertices[near]
        centre, radius = fit_sphere(chosen)
    residual = float(np.sqrt(np.mean((np.linalg.norm(chosen - centre, axis=1) - radius) ** 2)))
    return Head(centre, radius, residual, _covered(body, centre, radius, away))


def fit_sphere(points: Matrix) -> tuple[Vector, float]:
    """Return centre `(3,)` and radius of the least-squares sphere through points `(n, 3)`, in their unit."""
    middle = points.mean(axis=0)
    offset = points - middle
    solution, *_ = np.linalg.lstsq(np.column_stack([2 * offset, np.ones(len(points))]), (offset**2).sum(axis=1))
    return middle + solution[:3], float(np.sqrt(solution[3] + (solution[:3] ** 2).sum()))


def _covered(body: Body, centre: Vector, radius: float, away: Vector) -> float:
    """Return the share of directions, except those of the neck, in which the bone ends at the sphere."""
    turn = np.arange(DIRECTIONS) * np.pi * (3 - np.sqrt(5))  # a spiral of even density over the sphere
    height = 1 - (2 * np.arange(DIRECTIONS) + 1) / DIRECTIONS
    flat = np.sqrt(1 - height**2)
    rays = np.column_stack([flat * np.cos(turn), flat * np.sin(turn), height])
    rays = rays[rays @ away < NECK_CONE]
    ends = body.holds(centre + (radius - SKIN_MM) * rays) & ~body.holds(centre + (radius + SKIN_MM) * rays)
    return float(ends.mean())


def find_shaft(body: Body, head: Head) -> Shaft | None:
    """Return the shaft's axis; None if the scan holds none of it.

    The normals of a tube's walls are perpendicular to its axis: they give the direction of a short stump, while its
    sections, cut by the scan at any angle, do not.
    """
    vertices, normals = body.surface.vertices, body.surface.normals
    lower = (np.linalg.norm(vertices - head.centre, axis=1) > CLEAR_MM) & ~body.cut
    if np.count_nonzero(lower) < MIN_WALL:
        return None
    down = vertices[lower].mean(axis=0) - head.centre
    down /= np.linalg.norm(down)
    wall = lower
    for cosine in WALL_COSINES:
        wall = lower & (np.abs(normals @ down) < cosine)
        if np.count_nonzero(wall) < MIN_WALL:
            return None
        axis = np.linalg.eigh(normals[wall].T @ normals[wall])[1][:, 0]
        down = axis if axis @ down > 0 else -axis
    points = body.points
    for _ in range(ROUNDS):
        start, end = head.centre @ down + CLEAR_MM, (vertices[wall] @ down).max()
        length = max(0.0, end - start)
        ended = vertices[body.cut] @ down
        end = ended[ended > start + LONG_SHAFT_MM].min(initial=end)  # an oblique end gives no whole sections
        along = points @ down
        middles = sections(points[(along > min(start, end - STUMP_MM)) & (along <= end)], down)
        if length > LONG_SHAFT_MM:
            axis = np.linalg.svd(middles - middles.mean(axis=0))[2][0]
            down = axis if axis @ down > 0 else -axis
    return Shaft(middles.mean(axis=0), down, float(length))


def sections(points: Matrix, down: Vector, step_mm: float = BIN_MM) -> Matrix:
    """Return the centres `(m, 3)` of the whole sections of points `(n, 3)` perpendicular to `down`."""
    along = points @ down
    number = np.floor((along - along.min()) / step_mm).astype(int)
    count = np.bincount(number)
    sums = np.column_stack([np.bincount(number, column) for column in points.T])
    whole = count > FULL_BIN * np.median(count[count > 0])
    middles: Matrix = sums[whole] / count[whole, None]
    return middles


def triple(vector: Vector) -> tuple[float, float, float]:
    """Return a point or direction as a tuple of floats."""
    x, y, z = (float(value) for value in vector)
    return x, y, z
