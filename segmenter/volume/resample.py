"""Volumes from one grid to another, through patient space.

Nearly every scan lies along the patient's axes, as the networks' grids do. Then each axis has weights of its own, few
and sparse, and three products do what filtering and interpolating voxel by voxel takes many times as long for. They run
on one thread, so a busy machine does not slow them and the number of cores does not show in the result. An oblique or
tilted scan is filtered and interpolated voxel by voxel, in blocks, so that no more of it than a block is ever floats.
"""

from itertools import product
from math import ceil

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from segmenter.volume.geometry import Geometry, Matrix

FloatVolume = NDArray[np.float32]
BOX_SIGMA = 0.29  # a Gaussian of 0.29 x width is as wide as a box of that width (standard deviation 1 / sqrt 12)
STRAY = 1e-3  # voxels that an axis may drift across the others over its whole length and still count as parallel
EDGE = 1e-6  # voxels beyond the outermost centre that are rounding, not outside
BLOCK = 32  # voxels of the target along each axis
TRUNCATE = 3.0  # standard deviations at which the Gaussian ends


def resample(volume: NDArray[np.generic], source: Geometry, target: Geometry, outside: float | None) -> FloatVolume:
    """Return `volume` on `target`, trilinearly, float32; `outside` fills what it does not cover (None: nearest)."""
    return _transfer(volume, source.inverse @ target.affine, target.shape, (0.0, 0.0, 0.0), outside)


def reduce(volume: NDArray[np.generic], source: Geometry, target: Geometry, outside: float | None) -> FloatVolume:
    """Return `volume` on a coarser axial grid, averaged over about one voxel, so that thin bone keeps its part.

    outside: value beyond `source`; None takes the nearest voxel's.
    """
    # Of tilted slices it is the distance of the planes that says how fine the patient was sampled along the stack.
    fine = np.array([source.distances[0], *source.spacing[1:]])
    width = np.abs(np.linalg.norm(target.affine[:3, :3], axis=0).min() / fine)
    z, y, x = (BOX_SIGMA * w if w > 1 else 0.0 for w in width)
    box, part = crop_to(source, target, margin=max(4, ceil(TRUNCATE * max(z, y, x)) + 1))
    return _transfer(volume[box], part.inverse @ target.affine, target.shape, (z, y, x), outside)


def covered(source: Geometry, target: Geometry) -> NDArray[np.bool_]:
    """Return which voxels of `target` lie between the outermost voxel centres of `source`, bool `(z, y, x)`."""
    matrix = source.inverse @ target.affine
    k, j, i = np.ogrid[tuple(slice(n) for n in target.shape)]
    inside = np.ones(target.shape, bool)
    for row, size in zip(matrix, source.shape, strict=False):
        at = row[0] * k + row[1] * j + row[2] * i + row[3]
        inside &= (at >= -EDGE) & (at <= size - 1 + EDGE)
    return inside


def crop_to(source: Geometry, target: Geometry, margin: int = 4) -> tuple[tuple[slice, ...], Geometry]:
    """Return the index box of `source` that holds all of `target` and a margin in voxels, and its geometry."""
    index = source.to_index(target.corners())
    low = np.clip(np.floor(index.min(axis=0)).astype(int) - margin, 0, np.array(source.shape) - 1)
    high = np.clip(np.ceil(index.max(axis=0)).astype(int) + margin + 1, low + 1, source.shape)
    return cut(source, low, high)


def cut(source: Geometry, low: NDArray[np.integer], high: NDArray[np.integer]) -> tuple[tuple[slice, ...], Geometry]:
    """Return the index box `low`..`high` (exclusive) of `source` as slices, and its geometry."""
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    affine = source.affine.copy()
    affine[:3, 3] = source.to_patient(low)
    size = high - low
    return box, Geometry((int(size[0]), int(size[1]), int(size[2])), affine)


def _transfer(
    volume: NDArray[np.generic],
    matrix: Matrix,
    shape: tuple[int, int, int],
    sigma: tuple[float, float, float],
    outside: float | None,
) -> FloatVolume:
    """Smooth `volume` by `sigma` voxels and sample it on `shape` at the source indices `matrix @ (k, j, i, 1)`."""
    order = _parallel_axes(matrix, shape)
    if order is not None:
        return _along_axes(volume, matrix, shape, order, sigma, outside)
    result = np.empty(shape, np.float32)
    for first in product(*(range(0, size, BLOCK) for size in shape)):
        size = np.minimum(BLOCK, np.array(shape) - first)
        inner = tuple(slice(a, a + n) for a, n in zip(first, size, strict=True))
        result[inner] = _block(volume, matrix, np.array(first), size, sigma, outside)
    return result


def _block(
    volume: NDArray[np.generic],
    matrix: Matrix,
    first: NDArray[np.integer],
    size: NDArray[np.integer],
    sigma: tuple[float, float, float],
    outside: float | None,
) -> FloatVolume:
    """Do `_transfer` for the `size` target voxels from `first` on, out of the source voxels that they need."""
    offset = matrix[:3, :3] @ first + matrix[:3, 3]
    ends = offset + np.array(list(product(*((0, n - 1) for n in size)))) @ matrix[:3, :3].T
    last = np.array(volume.shape) - 1
    margin = np.ceil(TRUNCATE * np.array(sigma)).astype(int) + 2
    low = np.clip(np.floor(ends.min(axis=0)).astype(int) - margin, 0, last)
    high = np.clip(np.ceil(ends.max(axis=0)).astype(int) + margin, low, last) + 1
    near = volume[tuple(slice(a, b) for a, b in zip(low, high, strict=True))].astype(np.float32)
    if any(sigma):
        near = ndimage.gaussian_filter(near, sigma, mode="nearest", truncate=TRUNCATE)
    result: FloatVolume = ndimage.affine_transform(
        near,
        matrix[:3, :3],
        offset - low,
        output_shape=tuple(size),
        order=1,
        mode="nearest" if outside is None else "constant",
        cval=outside or 0.0,
    )
    return result


def _parallel_axes(matrix: Matrix, shape: tuple[int, int, int]) -> tuple[int, ...] | None:
    """Return the target axis that runs along each source axis, or None where they are not parallel."""
    reach = np.abs(matrix[:3, :3]) * np.array(shape)  # voxels of the source that each target axis crosses
    order = reach.argmax(axis=1)
    stray = reach.copy()
    stray[np.arange(3), order] = 0.0
    if len(set(order.tolist())) < 3 or stray.max() > STRAY:
        return None
    return tuple(order.tolist())


def _along_axes(
    volume: NDArray[np.generic],
    matrix: Matrix,
    shape: tuple[int, int, int],
    order: tuple[int, ...],
    sigma: tuple[float, float, float],
    outside: float | None,
) -> FloatVolume:
    """Do `_transfer` axis by axis; `order`: target axis along each source axis."""
    positions = [matrix[axis, order[axis]] * np.arange(shape[order[axis]]) + matrix[axis, 3] for axis in range(3)]
    first, second, third = (
        _weights(at, size, width) for at, size, width in zip(positions, volume.shape, sigma, strict=True)
    )
    # Slice by slice: the whole scan is never held as floats.
    planes = np.empty((len(volume), third.shape[0], second.shape[0]), np.float32)
    for plane, stored in zip(planes, volume, strict=True):
        plane[:] = third @ (second @ stored.astype(np.float32)).T
    result = (first @ planes.reshape(len(volume), -1)).reshape(-1, *planes.shape[1:]).swapaxes(1, 2)
    if outside is not None:
        for axis, (at, size) in enumerate(zip(positions, volume.shape, strict=True)):
            np.moveaxis(result, axis, 0)[(at < -EDGE) | (at > size - 1 + EDGE)] = outside
    return np.ascontiguousarray(result.transpose(np.argsort(order)))


def _weights(positions: NDArray[np.float64], size: int, sigma: float) -> sparse.csr_array:
    """Return the matrix `(positions, size)` that smooths a line of voxels and interpolates it, the border repeated."""
    inside = positions.clip(0, size - 1)
    weights = sparse.csr_array(np.maximum(0.0, 1.0 - np.abs(inside[:, None] - np.arange(size))))
    if sigma > 0:
        smoothing = ndimage.gaussian_filter1d(np.eye(size), sigma, axis=0, mode="nearest", truncate=TRUNCATE)
        weights = weights @ sparse.csr_array(smoothing)
    return weights.astype(np.float32)


OUTSIDE_HU = -1024.0  # what lies outside the scanned field; nothing is less dense than air
