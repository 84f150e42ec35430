"""The implants of an operated femur: a total hip, screws of the neck, a nail, a plate; and the femur it is put into."""

from enum import StrEnum

import numpy as np
from scipy.spatial.transform import Rotation

from segmenter.synth.atlas import FloatArray
from segmenter.synth.femur_field import FemurField, Landmarks
from segmenter.synth.inclusions import METAL_HU, Capsule, Place, prosthesis, resected

SHAFT_RADIUS_MM = 15.0


class Implant(StrEnum):
    """The kinds."""

    PROSTHESIS = "prosthesis"
    SCREWS = "screws"
    SLIDING_SCREW = "sliding screw"
    NAIL = "nail"
    PLATE = "plate"


def implanted(kind: Implant, rng: np.random.Generator, femur: FemurField) -> tuple[FemurField, list[Capsule]]:
    """Return the femur as an operation leaves it, and the metal."""
    marks = femur.landmarks
    if kind is Implant.PROSTHESIS:
        return resected(femur), prosthesis(rng, marks)
    return femur, PARTS[kind](marks)


def cannulated_screws(marks: Landmarks) -> list[Capsule]:
    """Return three parallel screws of the neck."""
    lateral, tip = _along_the_neck(marks)
    spread = [Rotation.from_rotvec(angle * marks.neck).apply(marks.medial) for angle in (0.0, 2.1, 4.2)]
    return [_rod(lateral + 8.0 * s, tip + 7.0 * s, 3.4) for s in spread]


def sliding_screw(marks: Landmarks) -> list[Capsule]:
    """Return a thick screw of the neck with the plate that holds it."""
    lateral, tip = _along_the_neck(marks)
    return [_rod(lateral, tip, 6.0), _rod(lateral, _lateral(marks) + 60.0 * marks.down, 4.0)]


def nail(marks: Landmarks) -> list[Capsule]:
    """Return an intramedullary nail from the top of the trochanter, its screw of the neck and a locking screw."""
    lateral, tip = _along_the_neck(marks)
    top = marks.shaft - (marks.shaft - marks.neck_base) @ marks.down * marks.down - 30.0 * marks.down
    low = marks.shaft + 60.0 * marks.down
    lock, across = low - 12.0 * marks.down, SHAFT_RADIUS_MM * marks.medial
    return [_rod(top, low, 5.5), _rod(lateral, tip, 5.2), _rod(lock - across, lock + across, 2.5)]


def plate(marks: Landmarks) -> list[Capsule]:
    """Return a plate on the lateral side of the shaft, and its screws through both walls."""
    front = np.cross(marks.medial, marks.down)
    begin = _lateral(marks) - 30.0 * marks.down
    parts = [_rod(begin + a * front, begin + a * front + 130.0 * marks.down, 2.6) for a in (-4.5, 0.0, 4.5)]
    holes = [begin + along * marks.down for along in (5.0, 25.0, 65.0, 85.0, 105.0, 125.0)]
    return [*parts, *(_rod(hole, hole + 2.1 * SHAFT_RADIUS_MM * marks.medial, 2.2) for hole in holes)]


PARTS = {
    Implant.SCREWS: cannulated_screws,
    Implant.SLIDING_SCREW: sliding_screw,
    Implant.NAIL: nail,
    Implant.PLATE: plate,
}


def _along_the_neck(marks: Landmarks) -> tuple[FloatArray, FloatArray]:
    """Return the lateral wall and a point in the head."""
    return marks.neck_base + 34.0 * marks.neck, marks.head_centre - 0.5 * marks.head_radius * marks.neck


def _lateral(marks: Landmarks) -> FloatArray:
    return marks.shaft - (SHAFT_RADIUS_MM + 2.0) * marks.medial


def _rod(start: FloatArray, end: FloatArray, radius: float) -> Capsule:
    return Capsule(Place.METAL, METAL_HU, start, end, radius)
