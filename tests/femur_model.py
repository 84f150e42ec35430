"""A femur of balls and tubes with known measures, on any grid and in any posture."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from segmenter.volume.femur import Femur, Side
from segmenter.volume.geometry import Geometry

HEAD_MM, NECK_MM, SHAFT_MM, CORTEX_MM = 22.0, 14.0, 14.0, 4.0
WAIST_MM = 25.0  # from the head's centre to the narrowest section of the neck
OFFSET_MM = 42.0  # head's centre from the shaft's axis
ANGLE_DEG = 128.0
LESSER_MM, LESSER_BEHIND_DEG = 55.0, 45.0  # below the head's centre; from medial towards the back
FAR_MM = 30.0
CORTEX_HU, MARROW_HU, FLESH_HU = 1200.0, 100.0, 40.0


@dataclass(frozen=True)
class Model:
    """A left femur whose head is at the origin; the right one is its mirror image. bent: rotation vector, degrees."""

    side: Side = Side.LEFT
    bent: tuple[float, float, float] = (0.0, 0.0, 0.0)
    length_mm: float = 165.0
    lesser: bool = True
    angle_deg: float = ANGLE_DEG

    def to_patient(self, points: NDArray) -> NDArray:
        """Move points or directions (about the head) from the model's frame: x lateral, y to the back, z up."""
        mirror = np.array([1.0 if self.side is Side.LEFT else -1.0, 1.0, 1.0])
        turned: NDArray = Rotation.from_rotvec(self.bent, degrees=True).apply(points) * mirror
        return turned

    @property
    def down(self) -> NDArray:
        return self.to_patient(np.array([0, 0, -1.0]))

    @property
    def neck_axis(self) -> NDArray:
        turn = np.radians(self.angle_deg)
        return self.to_patient(np.array([-np.sin(turn), 0, -np.cos(turn)]))

    @property
    def lesser_tip(self) -> NDArray:
        turn = np.radians(LESSER_BEHIND_DEG)
        out = (SHAFT_MM + 12.0) * np.array([-np.cos(turn), np.sin(turn), 0])
        return self.to_patient(np.array([OFFSET_MM, 0, -LESSER_MM]) + out)

    def distance(self, points: NDArray) -> NDArray:
        """Return the signed distance of points `(..., 3)` to the surface, mm, negative inside; right near to it."""
        mirror = np.array([1.0 if self.side is Side.LEFT else -1.0, 1.0, 1.0])
        local = Rotation.from_rotvec(self.bent, degrees=True).inv().apply((points * mirror).reshape(-1, 3))
        low, high = np.array([-30.0, -35.0, 15.0 - self.length_mm]), np.array([75.0, 40.0, 30.0])
        near = ((local > low) & (local < high)).all(axis=1)
        result = np.full(len(local), FAR_MM)
        result[near] = self._distance(local[near])
        return result.reshape(points.shape[:-1])

    def _distance(self, local: NDArray) -> NDArray:
        turn, behind = np.radians(self.angle_deg), np.radians(LESSER_BEHIND_DEG)
        neck = np.array([np.sin(turn), 0, np.cos(turn)])
        base = OFFSET_MM / np.sin(turn) * neck
        foot = np.array([OFFSET_MM, 0, HEAD_MM - self.length_mm])
        lesser = np.array([OFFSET_MM, 0, -LESSER_MM])
        out = np.array([-np.cos(behind), np.sin(behind), 0])
        parts = [
            np.linalg.norm(local, axis=-1) - HEAD_MM,
            tube(local, np.zeros(3), WAIST_MM * neck, 18.0, NECK_MM),
            tube(local, WAIST_MM * neck, base, NECK_MM, 18.0),
            tube(local, base + np.array([0, 0, 8.0]), foot, SHAFT_MM, SHAFT_MM),
            tube(local, base, base + np.array([2.0, 4.0, 14.0]), 17.0, 12.0),
        ]
        if self.lesser:
            parts.append(tube(local, lesser, lesser + (SHAFT_MM + 5.0) * out, 9.0, 7.0))
        result: NDArray = np.maximum(np.minimum.reduce(parts), foot[2] - local[:, 2])  # a flat lower end
        return result

    def on(self, geometry: Geometry, noise_hu: float = 0.0) -> tuple[Femur, NDArray]:
        """Return the femur and its HU `(z, y, x)`, noise-free or not, on a grid."""
        index = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), -1)
        distance = self.distance(geometry.to_patient(index))
        hu = np.select([distance < -CORTEX_MM, distance < 0], [MARROW_HU, CORTEX_HU], FLESH_HU)
        noise = np.random.default_rng(0).normal(0, noise_hu, hu.shape) if noise_hu else 0.0
        return Femur(self.side, distance < 0, complete=True), (hu + noise).astype(np.float32)


def tube(points: NDArray, start: NDArray, end: NDArray, radius: float, end_radius: float) -> NDArray:
    """Return the signed distance to a line with a radius at either end."""
    axis = end - start
    share = np.clip((points - start) @ axis / (axis @ axis), 0, 1)
    away: NDArray = np.linalg.norm(points - start - share[..., None] * axis, axis=-1)
    return away - (radius + (end_radius - radius) * share)


def grid(
    spacing: tuple[float, float, float] = (2.0, 1.5, 1.5),
    turned: tuple[float, float, float] = (0.0, 0.0, 0.0),
    shear: float = 0.0,
    below_mm: float = 152.0,
) -> Geometry:
    """Return a grid around a left or right model at the origin; turned: rotation vector, deg; shear: of the slices."""
    half = np.array([85.0, 60.0, (below_mm + 45.0) / 2])
    middle = np.array([0.0, 0.0, 45.0 - half[2]])
    axes = Rotation.from_rotvec(turned, degrees=True).as_matrix()
    reach = half if not any(turned) else np.full(3, np.linalg.norm(half) * 0.8)
    shape = np.ceil(2 * reach[::-1] / spacing).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = axes[:, ::-1] * spacing
    affine[:3, 0] += shear * affine[:3, 1] / spacing[1] * spacing[0]
    affine[:3, 3] = middle - affine[:3, :3] @ ((shape - 1) / 2)
    return Geometry((int(shape[0]), int(shape[1]), int(shape[2])), affine)
