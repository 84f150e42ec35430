"""Things a real scan holds besides healthy bone and flesh: vessels, calcifications, cysts, islands, screws, prostheses.

Everything is a capsule: a line with a radius at either end, as solid HU, drawn with a soft edge in its bounding box.
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np
from scipy.spatial.transform import Rotation

from segmenter.synth.atlas import FloatArray
from segmenter.synth.femur_field import FemurField, Landmarks
from segmenter.synth.layers import FloatVolume, noise_layer
from segmenter.synth.tissues import Tissues
from segmenter.volume.geometry import Geometry

METAL_HU = 3071.0  # where a 12 bit CT number ends


class Place(Enum):
    """When a capsule is drawn: under the bones, inside bone only, over everything."""

    SOFT = auto()
    BONE = auto()
    METAL = auto()
    OUTSIDE = auto()  # only where there was air


@dataclass(frozen=True, eq=False)
class Capsule:
    """A solid line from `start` to `end` (LPS mm) with radii in mm and one HU value."""

    place: Place
    hu: float
    start: FloatArray
    end: FloatArray
    radius: float
    end_radius: float | None = None

    def draw(self, hu: FloatVolume, geometry: Geometry, ramp: float, allowed: FloatVolume | None = None) -> None:
        """Draw into `hu` `(z, y, x)` in place; `allowed` is the share of each voxel that may be covered."""
        widest = max(self.radius, self.end_radius or self.radius) + ramp
        corners = np.array([self.start, self.end])
        box = np.array(np.meshgrid(*zip(corners.min(axis=0) - widest, corners.max(axis=0) + widest, strict=True)))
        index = geometry.to_index(box.reshape(3, 8).T)
        low = np.clip(np.floor(index.min(axis=0)), 0, np.array(geometry.shape)).astype(int)
        high = np.clip(np.ceil(index.max(axis=0)) + 1, low, np.array(geometry.shape)).astype(int)
        if (high <= low).any():
            return
        part = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        grid = np.stack(np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij"), -1)
        share = np.clip(0.5 - self.distance(geometry.to_patient(grid)) / ramp, 0, 1).astype(np.float32)
        if allowed is not None:
            share *= allowed[part]
        hu[part] += share * (np.float32(self.hu) - hu[part])

    def distance(self, points: FloatArray) -> FloatArray:
        """Return the signed distance of points `(..., 3)` to the surface, mm."""
        axis = self.end - self.start
        offset = points - self.start
        share = np.clip(offset @ axis / max(float(axis @ axis), 1e-9), 0, 1)
        radius = self.radius + ((self.radius if self.end_radius is None else self.end_radius) - self.radius) * share
        away: FloatArray = np.linalg.norm(offset - share[..., None] * axis, axis=-1) - radius
        return away


def draw_all(
    capsules: Iterable[Capsule],
    place: Place,
    hu: FloatVolume,
    geometry: Geometry,
    ramp: float,
    allowed: FloatVolume | None = None,
) -> None:
    """Draw the capsules of one place."""
    for capsule in capsules:
        if capsule.place is place:
            capsule.draw(hu, geometry, ramp, allowed)


def vessels(rng: np.random.Generator, t: Tissues, marks: Landmarks) -> list[Capsule]:
    """Return the femoral artery and vein in front of one hip, perhaps with calcified walls."""
    front = marks.head_centre + np.array([0, -32.0, 0]) + rng.normal(0, 4, 3)
    medial = marks.medial * np.array([1, 0, 0])
    found = []
    for n, radius in enumerate((rng.uniform(3, 5), rng.uniform(4, 6.5))):
        place = front + (12.0 * n + rng.uniform(-2, 2)) * medial
        bend = place + np.array([0, rng.uniform(0, 12), -70.0])
        ends = [place + np.array([0, rng.uniform(0, 20), 90.0]) + 14 * medial, place, bend, bend + 140 * marks.down]
        found += [Capsule(Place.SOFT, t.vessel * (1 - 0.3 * n), a, b, radius) for a, b in itertools.pairwise(ends)]
        if rng.random() < 0.2:
            for _ in range(rng.integers(2, 9)):
                spot = place + rng.uniform(0, 1) * (bend - place) + rng.normal(0, 0.7 * radius, 3)
                found.append(Capsule(Place.SOFT, rng.uniform(250, 900), spot, spot + rng.normal(0, 2, 3), 1.2))
    return found


def belly(rng: np.random.Generator, t: Tissues, heads: FloatArray, top_mm: float) -> list[Capsule]:
    """Return bladder, phleboliths and loops of bowel with gas or contrast between and above the hips."""
    middle = heads.mean(axis=0)
    wall = rng.choice([rng.uniform(0, 20), rng.uniform(150, 900)], p=[0.8, 0.2])
    bladder = middle + np.array([rng.normal(0, 6), rng.uniform(-25, 0), rng.uniform(0, 25)])
    across = np.array([rng.uniform(5, 22), 0, 0])
    found = [Capsule(Place.SOFT, wall, bladder - across, bladder + across, rng.uniform(18, 34))]
    for _ in range(rng.integers(3, 14)):
        at = middle + np.array([rng.normal(0, 45), rng.normal(0, 25), rng.uniform(10, max(top_mm - middle[2], 20.0))])
        loop = rng.normal(0, 18, 3)
        value = rng.choice([-900.0, t.bowel, t.organ], p=[0.25, 0.5, 0.25])
        found.append(Capsule(Place.SOFT, value, at - loop, at + loop, rng.uniform(6, 15)))
    for _ in range(rng.integers(0, 5)):
        at = middle + rng.normal(0, [40, 18, 25])
        found.append(Capsule(Place.SOFT, rng.uniform(200, 900), at, at, rng.uniform(1.0, 2.5)))
    if rng.random() < 0.15:  # a mass in a thigh
        at = heads[rng.integers(2)] + np.array([0, rng.uniform(-50, 50), rng.uniform(-140, -40)])
        found.append(Capsule(Place.SOFT, rng.uniform(5, 65), at, at + rng.normal(0, 20, 3), rng.uniform(15, 45)))
    return found


def beside(rng: np.random.Generator, low: FloatArray, high: FloatArray) -> list[Capsule]:
    """Return a forearm lying beside the hips, sometimes."""
    if rng.random() > 0.15:
        return []
    side = rng.choice([-1.0, 1.0])
    x = (high[0] + 25.0) if side > 0 else (low[0] - 25.0)
    at = np.array([x, (low[1] + high[1]) / 2 + rng.uniform(-50, 50), (low[2] + high[2]) / 2 + rng.uniform(-60, 120)])
    along = Rotation.from_rotvec(rng.normal(0, 0.15, 3)).apply([0, 0, 110.0])
    found = [Capsule(Place.OUTSIDE, -100.0, at - along, at + along, 36.0)]
    found.append(Capsule(Place.METAL, 55.0, at - along, at + along, 28.0))
    for n in (-1, 1):
        axis = at + n * np.array([0, 14.0, 0])
        found.append(Capsule(Place.METAL, rng.uniform(900, 1500), axis - along, axis + along, 7.5))
        found.append(Capsule(Place.METAL, rng.uniform(-50, 100), axis - along, axis + along, 4.0))
    return found


def lesions(rng: np.random.Generator, t: Tissues, marks: Landmarks) -> list[Capsule]:
    """Return cysts with a dense rim and bone islands in the head, the neck and the roof over it."""
    found = []
    for _ in range(rng.poisson(0.5)):
        at = marks.head_centre + rng.normal(0, 0.75 * marks.head_radius, 3)
        radius = rng.uniform(2, 6)
        found.append(Capsule(Place.BONE, t.head + rng.uniform(100, 400), at, at, radius + rng.uniform(0.6, 1.5)))
        found.append(Capsule(Place.BONE, rng.uniform(-20, 60), at, at, radius))
    for _ in range(rng.poisson(0.5)):
        at = marks.head_centre + rng.uniform(-0.5, 2.5) * 30 * marks.neck + rng.normal(0, 10, 3)
        found.append(Capsule(Place.BONE, rng.uniform(700, 1300), at, at + rng.normal(0, 2, 3), rng.uniform(1.2, 3.5)))
    return found


def screws(rng: np.random.Generator, marks: Landmarks) -> list[Capsule]:
    """Return the metal of a mended neck: two or three cannulated screws, or one thick sliding screw with its plate."""
    lateral = marks.neck_base + 34.0 * marks.neck
    tip = marks.head_centre - 0.5 * marks.head_radius * marks.neck
    if rng.random() < 0.5:
        spread = np.array([Rotation.from_rotvec(a * marks.neck).apply(marks.medial) for a in (0.0, 2.1, 4.2)])
        return [
            Capsule(Place.METAL, METAL_HU, lateral + 8.0 * s, tip + 7.0 * s, 3.4) for s in spread[: rng.integers(2, 4)]
        ]
    plate = marks.shaft - 17.0 * marks.medial
    return [
        Capsule(Place.METAL, METAL_HU, lateral, tip, 6.0),
        Capsule(Place.METAL, METAL_HU, lateral, plate + 60.0 * marks.down, 4.0),
    ]


def prosthesis(rng: np.random.Generator, marks: Landmarks) -> list[Capsule]:
    """Return a total hip: cup, ball, neck and stem."""
    ball = rng.uniform(14, 18)
    cup = marks.head_centre - 4.0 * marks.neck
    return [
        Capsule(Place.METAL, METAL_HU, cup, cup, marks.head_radius + 2.0),
        Capsule(Place.METAL, rng.choice([METAL_HU, 120.0]), marks.head_centre, marks.head_centre, ball + 4.0),
        Capsule(Place.METAL, METAL_HU, marks.head_centre, marks.head_centre, ball),
        Capsule(Place.METAL, METAL_HU, marks.head_centre, marks.neck_base, 7.0, 8.0),
        Capsule(Place.METAL, METAL_HU, marks.neck_base, marks.shaft + 30.0 * marks.down, 9.0, 5.0),
    ]


def resected(femur: FemurField) -> FemurField:
    """Return the femur without its head and neck, as a surgeon leaves it for a prosthesis."""
    grid = np.stack(np.meshgrid(*map(np.arange, femur.geometry.shape), indexing="ij"), axis=-1)
    marks = femur.landmarks
    along = (femur.geometry.to_patient(grid) - marks.head_centre) @ marks.neck
    cut = np.linalg.norm(marks.neck_base - marks.head_centre) - 12.0
    distance = np.maximum(femur.distance, (cut - along).astype(np.float32))
    return FemurField(femur.geometry, distance, femur.depth, marks)


def roughened(femur: FemurField, rng: np.random.Generator) -> FemurField:
    """Return the femur with a surface of its own, and sometimes osteophytes where the head meets the neck."""
    corners = femur.geometry.corners()
    low, high = corners.min(axis=0), corners.max(axis=0)
    distance = femur.distance - rng.uniform(0, 0.6) * noise_layer(rng, rng.uniform(16, 28), low, high).on(
        femur.geometry
    )
    if rng.random() < 0.3:
        marks = femur.landmarks
        grid = np.stack(np.meshgrid(*map(np.arange, femur.geometry.shape), indexing="ij"), axis=-1)
        offset = femur.geometry.to_patient(grid) - marks.head_centre
        far = np.linalg.norm(offset, axis=-1)
        angle = (offset @ marks.neck) / np.maximum(far, 1.0)
        ring = np.exp(-(((angle - 0.35) / 0.22) ** 2)) * np.exp(-(((far / marks.head_radius - 1.0) / 0.25) ** 2))
        bumps = np.maximum(noise_layer(rng, rng.uniform(7, 12), low, high).on(femur.geometry) + 0.3, 0)
        distance = distance - (rng.uniform(1, 3.5) * ring * bumps).astype(np.float32)
    return FemurField(femur.geometry, distance.astype(np.float32), femur.depth, femur.landmarks)
