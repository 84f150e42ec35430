"""Building blocks of a synthetic patient: fields on their own grids, blended with soft edges."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segmenter.synth.atlas import FloatArray
from segmenter.volume.geometry import Geometry, Matrix
from segmenter.volume.resample import resample

FloatVolume = NDArray[np.float32]
FAR_MM = 30.0  # signed distances are limited to about this


@dataclass(frozen=True, eq=False)
class Layer:
    """A field on its own grid, sampled trilinearly; `outside` is its value beyond the grid (None = nearest)."""

    values: FloatVolume
    geometry: Geometry
    outside: float | None = None

    def on(self, geometry: Geometry) -> FloatVolume:
        """Return the field on another grid, float32 `(z, y, x)`."""
        matrix = self.geometry.inverse @ geometry.affine
        if np.count_nonzero(matrix[:3, :3] - np.diag(np.diag(matrix)[:3])):
            return resample(self.values, self.geometry, geometry, self.outside)
        return self._along_axes(matrix, geometry.shape)

    def _along_axes(self, matrix: Matrix, shape: tuple[int, int, int]) -> FloatVolume:
        """Interpolate one axis after the other, slices first: only a few slices are needed at a time."""
        values: NDArray[np.floating] = self.values
        beyond = []
        for axis in (0, 2, 1):  # whole rows last: this is the fastest order
            at = matrix[axis, axis] * np.arange(shape[axis]) + matrix[axis, 3]
            last = self.values.shape[axis] - 1
            beyond.append((axis, (at < 0) | (at > last)))
            at = at.clip(0, last)
            low = np.minimum(at.astype(int), max(last - 1, 0))
            share = (at - low).reshape([-1 if a == axis else 1 for a in range(3)])
            upper = values.take(np.minimum(low + 1, last), axis)
            values = values.take(low, axis) * (1 - share) + upper * share
        result: FloatVolume = values.astype(np.float32)
        if self.outside is not None:
            for axis, outer in beyond:
                np.moveaxis(result, axis, 0)[outer] = self.outside
        return result


def coordinates(geometry: Geometry) -> tuple[FloatVolume, FloatVolume, FloatVolume]:
    """Return LPS x, y and z of every voxel in mm, each broadcastable to `(z, y, x)`."""
    k, j, i = np.ogrid[tuple(slice(n) for n in geometry.shape)]
    a = geometry.affine
    x, y, z = ((a[r, 0] * k + a[r, 1] * j + a[r, 2] * i + a[r, 3]).astype(np.float32) for r in range(3))
    return x, y, z


def blend(
    hu: FloatVolume,
    value: FloatVolume | np.float32,
    distance: FloatVolume,
    ramp: float,
    where: NDArray[np.generic] | None = None,
) -> None:
    """Blend `value` into `hu` in place where the signed distance is negative, with a linear edge `ramp` mm wide."""
    share = np.clip(0.5 - distance / ramp, 0, 1)
    if where is not None:
        share *= where
    hu += share * (value - hu)


def smoothstep(x: NDArray[np.floating]) -> FloatVolume:
    """Return 0 below 0, 1 above 1, a smooth cubic between."""
    x = np.clip(x, 0, 1)
    result: FloatVolume = (x * x * (3 - 2 * x)).astype(np.float32)
    return result


def signed_distance(inside: NDArray[np.bool_], spacing: tuple[float, float, float]) -> FloatVolume:
    """Return the smoothed signed distance to a tissue's border in mm, negative inside; far from it about `FAR_MM`."""
    (box,) = ndimage.find_objects(inside.astype(np.uint8))
    margin = [int(FAR_MM / step) for step in spacing]
    near = tuple(slice(max(s.start - m, 0), s.stop + m) for s, m in zip(box, margin, strict=True))
    outer = ndimage.distance_transform_edt(~inside[near], sampling=spacing)
    inner = ndimage.distance_transform_edt(inside[near], sampling=spacing)
    half = 0.5 * min(spacing)  # distances are between voxel centres; the border lies half a voxel nearer
    distance = np.full(inside.shape, FAR_MM, np.float32)
    distance[near] = ndimage.gaussian_filter(np.where(inside[near], half - inner, outer - half), 0.6)
    return distance


def noise_layer(rng: np.random.Generator, pitch_mm: float, low: FloatArray, high: FloatArray) -> Layer:
    """Return a smooth random field of about unit variance with the given grain over the box `low`..`high` (LPS mm)."""
    nodes = np.ceil((high - low) / pitch_mm).astype(int)[::-1] + 2
    values = rng.standard_normal(nodes).astype(np.float32) * 1.4
    shape = (int(nodes[0]), int(nodes[1]), int(nodes[2]))
    return Layer(values, Geometry.axial(shape, (pitch_mm,) * 3, (low[0], low[1], low[2])))
