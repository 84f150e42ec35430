"""The compact anatomy that synthetic patients grow from: tissue maps of four pelves, a shape model of the femur."""

from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
COORDINATE_STEP = 50.0  # shape coordinates are stored in fiftieths of a millimetre


class Tissue(IntEnum):
    """Classes of the tissue maps."""

    AIR = 0
    FAT = 1
    MUSCLE = 2
    CAVITY = 3
    HIP_BONE = 4
    SPINE = 5


@dataclass(frozen=True, eq=False)
class Pose:
    """Where the left model sits in a hip: `rotation` vector (rad) about `pivot`, then scale, then `shift` (mm)."""

    rotation: FloatArray
    shift: FloatArray
    scale: float
    weights: FloatArray
    pivot: FloatArray

    @classmethod
    def from_vector(cls, vector: FloatArray) -> "Pose":
        """Unpack the fitted parameters as `build_atlas` stores them."""
        return cls(vector[:3], vector[3:6], float(np.exp(vector[6])), vector[7:-3], vector[-3:])


@dataclass(frozen=True, eq=False)
class Body:
    """One pelvis: tissue classes `(z, y, x)` on a 3 x 2 x 2 mm LPS grid; the right femur's pose is mirrored (-x)."""

    name: str
    tissue: NDArray[np.uint8]
    origin: FloatArray
    left: Pose
    right: Pose
    spacing: tuple[float, float, float] = (3.0, 2.0, 2.0)


@dataclass(frozen=True, eq=False)
class FemurShape:
    """Shape of the left femur: mean `(v, 3)` LPS mm, modes `(m, v, 3)` mm per standard deviation, faces `(f, 3)`."""

    mean: FloatArray
    modes: FloatArray
    faces: NDArray[np.int64]

    def sample(self, weights: FloatArray) -> FloatArray:
        """Return the vertices `(v, 3)` for mode weights `(m,)` in standard deviations."""
        vertices: FloatArray = self.mean + np.tensordot(weights, self.modes, 1)
        return vertices


@dataclass(frozen=True, eq=False)
class Atlas:
    """All shipped anatomy."""

    bodies: tuple[Body, ...]
    femur: FemurShape


@cache
def load_atlas() -> Atlas:
    """Read the atlas that is shipped with the package."""
    with (
        resources.as_file(resources.files("segmenter") / "data" / "atlas.npz") as path,
        np.load(path) as content,
    ):
        names = sorted({key.split("_")[1] for key in content.files if key.startswith("body_")})
        bodies = tuple(
            Body(
                name,
                content[f"body_{name}_tissue"],
                content[f"body_{name}_origin"],
                Pose.from_vector(content[f"body_{name}_left"]),
                Pose.from_vector(content[f"body_{name}_right"]),
            )
            for name in names
        )
        femur = FemurShape(
            content["femur_mean"] / COORDINATE_STEP,
            content["femur_modes"] / COORDINATE_STEP,
            content["femur_faces"].astype(np.int64),
        )
    return Atlas(bodies, femur)
