"""The inside of a femur: cortex that thickens along the bone, and the trabecular groups of its upper end.

The groups after Ward and Singh: principal compressive (calcar to dome), principal tensile (lateral cortex over the
neck to the head's lower pole), secondary compressive (lesser to greater trochanter); Ward's triangle lies between.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmenter.synth.atlas import FloatArray
from segmenter.synth.femur_field import Landmarks
from segmenter.synth.layers import FloatVolume, smoothstep
from segmenter.synth.tissues import Tissues


@dataclass(frozen=True, eq=False)
class BoneAt:
    """Voxels near one femur, all `(z, y, x)`: position LPS mm `(z, y, x, 3)`, signed distance and depth in mm."""

    position: NDArray[np.float32]
    distance: FloatVolume
    depth: FloatVolume
    grain: FloatVolume


def cortex_thickness(t: Tissues, bone: NDArray[np.float32], depth: FloatVolume, marks: Landmarks) -> FloatVolume:
    """Return the thickness of the cortex in mm: a shell at the head, thick at the calcar and along the shaft."""
    shaft = smoothstep((depth - 65) / 60)
    calcar = marks.shaft - 55 * marks.down + 14 * marks.medial
    near = np.exp(-((bone - calcar.astype(np.float32)) ** 2).sum(axis=-1) / (2 * 13.0**2))
    thickness: FloatVolume = t.thin_cortex_mm + (t.shaft_cortex_mm - t.thin_cortex_mm) * shaft + t.calcar_mm * near
    return thickness


def cortex_hu(t: Tissues, depth: FloatVolume) -> FloatVolume:
    """Return the HU of compact bone: dense along the shaft, porous above."""
    shaft = smoothstep((depth - 55) / 60)
    wall: FloatVolume = t.cortex * (0.55 + 0.45 * shaft)
    return wall


def trabecular_hu(t: Tissues, at: BoneAt, cortex_mm: FloatVolume, marks: Landmarks) -> FloatVolume:
    """Return the HU inside the cortex."""
    r = marks.head_radius
    up = -marks.down
    dome = marks.head_centre + 0.8 * r * up + 0.1 * r * marks.medial
    calcar = marks.shaft - 62 * marks.down + 12 * marks.medial
    lateral = marks.shaft - 40 * marks.down - 13 * marks.medial
    above_neck = marks.neck_base + 16 * up - 2 * marks.medial
    pole = marks.head_centre - 0.35 * r * up + 0.55 * r * marks.medial
    lesser = marks.shaft - 42 * marks.down + 8 * marks.medial
    greater = marks.neck_base + 12 * up - 22 * marks.medial
    compressive = column(at.position, calcar, dome, 0.30 * r, 0.55 * r)
    tensile = np.maximum(
        column(at.position, lateral, above_neck, 5.0, 6.0), column(at.position, above_neck, pole, 6.0, 0.35 * r)
    )
    secondary = column(at.position, lesser, greater, 6.0, 8.0)
    above = 1 - smoothstep((at.depth - 70) / 60)
    inner = t.marrow + (t.metaphysis - t.marrow) * above * (0.45 + 0.55 * head_share(at, marks))
    inner += (t.head - t.metaphysis) * compressive
    inner += np.maximum(t.tensile, 0) * 0.8 * tensile * (1 - compressive)
    inner += 0.4 * t.tensile * secondary * above
    inner += 0.5 * max(t.head, 60.0) * np.exp((at.distance + cortex_mm) / 2.5) * above  # subchondral bone is denser
    inner += scar(t, at, marks)
    inner += t.texture * (0.12 * np.abs(inner) + 35.0) * (0.3 + 0.7 * above) * at.grain
    result: FloatVolume = inner.astype(np.float32)
    return result


def head_share(at: BoneAt, marks: Landmarks) -> FloatVolume:
    """Return 1 in the head, 0 beyond the neck."""
    along = (at.position - marks.head_centre.astype(np.float32)) @ marks.neck.astype(np.float32)
    return 1 - smoothstep((along - 0.7 * marks.head_radius) / (0.6 * marks.head_radius))


def scar(t: Tissues, at: BoneAt, marks: Landmarks) -> FloatVolume:
    """Return the HU that the epiphyseal scar adds: a thin curved plate across the head."""
    offset = at.position - marks.head_centre.astype(np.float32)
    along = offset @ marks.neck.astype(np.float32)
    across = np.sqrt(np.maximum((offset**2).sum(axis=-1) - along**2, 0))
    plate = along - 0.15 * marks.head_radius + 0.012 * across**2
    result: FloatVolume = t.scar * 180.0 * np.exp(-((plate / 1.1) ** 2))
    return result


def column(
    position: NDArray[np.float32], start: FloatArray, end: FloatArray, start_mm: float, end_mm: float
) -> FloatVolume:
    """Return how much each voxel belongs to a column of trabeculae between two points, 0..1; radii widen along it."""
    axis = end - start
    length = float(np.linalg.norm(axis))
    offset = position - start.astype(np.float32)
    share = np.clip(offset @ (axis / length**2).astype(np.float32), 0, 1)
    away = ((offset - share[..., None] * axis.astype(np.float32)) ** 2).sum(axis=-1)
    radius = start_mm + (end_mm - start_mm) * share
    result: FloatVolume = np.exp(-0.7 * away / radius**2).astype(np.float32)
    return result
