"""Arthritis of a hip: lost cartilage, a flattened and broadened head, a bony rim, dense bone and cysts under the roof.

Such hips are where an outline is hardest: head and roof touch and neither is denser than the other.
"""

from dataclasses import replace

import numpy as np

from segmenter.synth.atlas import FloatArray
from segmenter.synth.femur_field import FemurField, Landmarks
from segmenter.synth.inclusions import Capsule, Place
from segmenter.synth.layers import FloatVolume, noise_layer, smoothstep
from segmenter.synth.tissues import Tissues

CLOSED = 0.4  # of the joints have next to no space
BLEND_MM = 3.0  # over which a flattened head goes over into its round part


def worn_joint(tissues: Tissues, rng: np.random.Generator) -> Tissues:
    """Return the tissues with a joint space from none to 4.5 mm, often hardly any, and a shell of the head to match.

    In a scan of thick slices the shell of a real head is no brighter than what it holds, and its roof much brighter.
    """
    space = rng.uniform(0.0, 1.2) if rng.random() < CLOSED else rng.uniform(0.8, 4.5)
    shell = tissues.thin_cortex_mm if rng.random() < 0.5 else rng.uniform(0.1, 0.5)
    return replace(
        tissues,
        joint_mm=float(space),
        joint=float(rng.uniform(-20, 160)),
        socket_mm=float(rng.uniform(3.0, 11.0)),
        thin_cortex_mm=float(shell),
    )


def worn(femur: FemurField, rng: np.random.Generator) -> FemurField:
    """Return the femur with its head changed in one or several ways: flattened, broadened, dented, rimmed."""
    marks = femur.landmarks
    offset, far = _from_head(femur)
    distance = femur.distance
    if rng.random() < 0.5:
        top = _direction(rng, marks, 0.5)
        plane = offset @ top.astype(np.float32) - np.float32(marks.head_radius - rng.uniform(0.5, 6.0))
        distance = _smooth_maximum(distance, plane)
    if rng.random() < 0.4:  # broader towards the neck, as a mushroom
        along = offset @ marks.neck.astype(np.float32) / np.maximum(far, 1.0)
        belt = np.exp(-(((along - rng.uniform(-0.1, 0.4)) / 0.35) ** 2)) * _shell(far, marks.head_radius)
        distance = distance - rng.uniform(0.5, 3.5) * belt
    if rng.random() < 0.6:
        distance = distance - _relief(femur, rng, rng.uniform(0.3, 1.2)) * _shell(far, marks.head_radius)
    return FemurField(femur.geometry, distance.astype(np.float32), femur.depth, marks)


def sclerosis(rng: np.random.Generator, t: Tissues, marks: Landmarks) -> list[Capsule]:
    """Return dense bone and cysts on both sides of the worn joint."""
    found = []
    for _ in range(rng.poisson(2.5)):
        at = marks.head_centre + _direction(rng, marks, 0.5) * marks.head_radius * rng.uniform(0.7, 1.35)
        ends = rng.normal(0, 4, 3)
        value = t.head + rng.uniform(50, 450)
        found.append(Capsule(Place.BONE, value, at - ends, at + ends, rng.uniform(1.5, 6)))
    for _ in range(rng.poisson(1.0)):
        at = marks.head_centre + _direction(rng, marks, 0.6) * marks.head_radius * rng.uniform(0.75, 1.3)
        radius = rng.uniform(1.5, 5)
        found.append(Capsule(Place.BONE, t.head + rng.uniform(100, 400), at, at, radius + rng.uniform(0.6, 1.5)))
        found.append(Capsule(Place.BONE, rng.uniform(-20, 80), at, at, radius))
    return found


def _from_head(femur: FemurField) -> tuple[FloatVolume, FloatVolume]:
    """Return every node's offset from the middle of the head `(z, y, x, 3)` and its length, mm."""
    grid = np.stack(np.meshgrid(*map(np.arange, femur.geometry.shape), indexing="ij"), axis=-1)
    offset = (femur.geometry.to_patient(grid) - femur.landmarks.head_centre).astype(np.float32)
    return offset, np.linalg.norm(offset, axis=-1).astype(np.float32)


def _direction(rng: np.random.Generator, marks: Landmarks, spread: float) -> FloatArray:
    """Return a unit vector about the one from the middle of the head to where the weight rests."""
    vector = -marks.down + 0.25 * marks.medial + rng.normal(0, spread / np.sqrt(3), 3)
    unit: FloatArray = vector / np.linalg.norm(vector)
    return unit


def _shell(far: FloatVolume, radius: float) -> FloatVolume:
    """Return 1 about the surface of the head, 0 where the neck has begun."""
    result: FloatVolume = 1 - smoothstep((np.abs(far - np.float32(radius)) - 0.2 * radius) / (0.3 * radius))
    return result


def _relief(femur: FemurField, rng: np.random.Generator, size_mm: float) -> FloatVolume:
    corners = femur.geometry.corners()
    relief: FloatVolume = np.float32(size_mm) * noise_layer(
        rng, rng.uniform(9, 20), corners.min(axis=0), corners.max(axis=0)
    ).on(femur.geometry)
    return relief


def _smooth_maximum(a: FloatVolume, b: FloatVolume) -> FloatVolume:
    """Return the maximum of two distances, the edge between them rounded."""
    share = np.clip(0.5 + 0.5 * (a - b) / BLEND_MM, 0, 1)
    result: FloatVolume = b + (a - b) * share + BLEND_MM * share * (1 - share)
    return result
