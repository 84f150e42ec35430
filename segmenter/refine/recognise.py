"""Whether an outlined bone is a proximal femur: it shows a head, or trochanters that continue in a shaft."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmenter.measure.axes import find_head
from segmenter.measure.surface import body_of
from segmenter.refine.head import SURFACE, balls, metal_share, possible_surfaces, starts
from segmenter.volume.femur import Side
from segmenter.volume.geometry import Geometry, box_geometry
from segmenter.volume.masks import bounding_box
from segmenter.volume.resample import FloatVolume, covered, cut, reduce

MIN_TROCHANTERS_ML, MIN_SHAFT_ML = 20.0, 10.0
MIN_TROCHANTERS = 0.25  # share of what the coarse network saw: at a knee or below the trochanters it sees less of them
MIN_HEAD_ML, MIN_VOLUME_ML, MAX_VOLUME_ML = 8.0, 30.0, 900.0  # of a cut head; of trochanters with a shaft; of a femur
MIN_BALL_MM = 11.0  # radius of the largest ball inside trochanters; those of the real hips at hand are 14 mm or more
MAX_CUT_CM2 = 5.0  # of a lone bone on its lateral side: what is missing there may be the head of the other femur
HEAD_BALL_MM, MIN_PROXIMAL_ML = 20.0, 30.0  # no other bone that the coarse network takes for a hip is so thick
STEP_MM, AROUND_MM = 1.5, 9.0
MAX_METAL = 0.4  # of a head with the screw of a nail in it; the ball of a prosthesis has more
SURE_ON = 0.75  # share of the edges that lie on the sphere of a head
CUT_PELVIS = "bone that could be part of an ilium or a femur, cut by the field of view: neither head nor shaft is seen"
SHAFT_ONLY = "a shaft without a head and with little or nothing of the trochanters: no proximal femur"
THIN = "bone of {:.0f} mm thickness: too thin for trochanters with a shaft, and no head is seen"
SIDE = "a femur without a head, cut by the scan on its outer side: it may be the other one, cut on its inner side"
SIZE = "bone of {:.0f} mL, which is no size of a proximal femur: {:.0f} to {:.0f} mL"


@dataclass(frozen=True)
class Seen:
    """What speaks for a femur.

    head: one was recognised, with the rest of the bone lateral of it. trochanters_ml, shaft_ml: what the coarse network
    saw of head, neck and trochanters, and of the shaft; volume_ml: of the outline; ball_mm: radius of the largest ball
    that fits into it, which may continue where the scan ends; lateral_cut_cm2: what the scan cuts of a lone bone on the
    lateral side, less what it cuts on the medial one.
    """

    head: bool
    trochanters_ml: float
    shaft_ml: float
    volume_ml: float
    ball_mm: float
    lateral_cut_cm2: float = 0.0


def refusal(seen: Seen) -> str:
    """Return why a bone cannot be called a proximal femur; empty = it can."""
    least = MIN_HEAD_ML if seen.head else MIN_VOLUME_ML
    thick = seen.ball_mm >= HEAD_BALL_MM and seen.trochanters_ml >= MIN_PROXIMAL_ML
    if not seen.head:
        if seen.shaft_ml < MIN_SHAFT_ML and not thick:
            return CUT_PELVIS
        share = seen.trochanters_ml / (seen.trochanters_ml + seen.shaft_ml)
        if seen.trochanters_ml < MIN_TROCHANTERS_ML or share < MIN_TROCHANTERS:
            return SHAFT_ONLY
        if seen.ball_mm < MIN_BALL_MM:
            return THIN.format(2 * seen.ball_mm)
        if seen.lateral_cut_cm2 >= MAX_CUT_CM2:
            return SIDE
    if not least <= seen.volume_ml <= MAX_VOLUME_ML:
        return SIZE.format(seen.volume_ml, least, MAX_VOLUME_ML)
    return ""


def why_not(
    mask: NDArray[np.bool_],
    volume: NDArray[np.generic],
    geometry: Geometry,
    side: Side,
    coarse_ml: tuple[float, float],
    alone: bool = True,
) -> str:
    """Return why an outline is no proximal femur; empty = it is one. A head is searched only if the rest is in doubt.

    mask, not empty, and volume (HU): `(z, y, x)` on `geometry`. coarse_ml: trochanters and shaft as in `Seen`. alone:
    the scan holds no second hip, which would tell the side of this one.
    """
    millilitres = float(np.count_nonzero(mask)) * geometry.voxel_volume_mm3 / 1000
    near = _near(mask, geometry)
    ball_mm = _largest_ball(*near, geometry)
    cut_cm2 = lateral_cut(mask, geometry, side) if alone else 0.0
    if not refusal(Seen(False, *coarse_ml, millilitres, ball_mm, cut_cm2)):
        return ""
    return refusal(Seen(head_seen(mask, volume, geometry, near, side), *coarse_ml, millilitres, ball_mm, cut_cm2))


def lateral_cut(mask: NDArray[np.bool_], geometry: Geometry, side: Side) -> float:
    """Return the area in cm2 that the scan cuts of a bone on its lateral side, less that on its medial side."""
    lateral = 1.0 if side is Side.LEFT else -1.0
    area = 0.0
    for axis, (normal, distance) in enumerate(zip(geometry.normals, geometry.distances, strict=True)):
        planes = np.moveaxis(mask, axis, 0)
        beyond = np.count_nonzero(planes[-1]) - np.count_nonzero(planes[0])
        area += lateral * normal[0] * beyond * geometry.voxel_volume_mm3 / distance
    return float(area) / 100


def head_seen(
    mask: NDArray[np.bool_],
    volume: NDArray[np.generic],
    geometry: Geometry,
    near: tuple[FloatVolume, Geometry],
    side: Side,
) -> bool:
    """Return whether a head is recognised: a sphere that edges of HU lie on, many or with the outline along them.

    near: the mask as shares on an isotropic grid around it.
    """
    found = [
        head
        for head in possible_surfaces(volume, geometry, *near, starts(geometry, *near, side))
        if head.recognised and metal_share(volume, geometry, head) < MAX_METAL
    ]
    if any(head.on >= SURE_ON for head in found):
        return True
    return bool(found) and not find_head(body_of(mask, geometry)).problems


def _largest_ball(share: FloatVolume, grid: Geometry, geometry: Geometry) -> float:
    """Return the radius of the largest ball inside a bone, 0 where it is thinner than the grid's step."""
    inside = share > SURFACE
    if not inside.any():
        return 0.0
    return max((radius for _, radius in balls(inside, covered(geometry, grid), grid)), default=0.0)


def _near(mask: NDArray[np.bool_], geometry: Geometry) -> tuple[FloatVolume, Geometry]:
    """Return the mask as shares 0..1 on an isotropic grid around it, and the grid."""
    box = bounding_box(mask, margin=2)
    _, part = cut(geometry, np.array([at.start for at in box]), np.array([at.stop for at in box]))
    corners = part.corners()
    grid = box_geometry(corners.min(axis=0) - AROUND_MM, corners.max(axis=0) + AROUND_MM, STEP_MM)
    return reduce(mask[box].astype(np.float32), part, grid, 0.0), grid
