"""Volumes from one grid to another, through patient space."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segmenter.geometry import Geometry

FloatVolume = NDArray[np.float32]
BOX_SIGMA = 0.29  # a Gaussian of 0.29 x width is as wide as a box of that width (standard deviation 1 / sqrt 12)


def resample(volume: NDArray[np.generic], source: Geometry, target: Geometry, outside: float | None) -> FloatVolume:
    """Return `volume` on `target`, trilinearly, float32; `outside` fills what it does not cover (None: nearest)."""
    matrix = source.inverse @ target.affine
    result: FloatVolume = ndimage.affine_transform(
        volume,
        matrix[:3, :3],
        matrix[:3, 3],
        output_shape=target.shape,
        order=1,
        mode="nearest" if outside is None else "constant",
        cval=outside or 0.0,
        output=np.float32,
    )
    return result


def reduce(volume: NDArray[np.generic], source: Geometry, target: Geometry, outside: float) -> FloatVolume:
    """Return `volume` on a coarser axial grid, averaged over about one voxel, so that thin bone keeps its part."""
    box, part = crop_to(source, target)
    width = np.abs(np.linalg.norm(target.affine[:3, :3], axis=0).min() / np.array(source.spacing))
    sigma = np.where(width > 1, BOX_SIGMA * width, 0.0)
    smooth = ndimage.gaussian_filter(volume[box].astype(np.float32), sigma, mode="nearest", truncate=3.0)
    return resample(smooth, part, target, outside)


def crop_to(source: Geometry, target: Geometry, margin: int = 4) -> tuple[tuple[slice, ...], Geometry]:
    """Return the index box of `source` that holds all of `target` and a margin in voxels, and its geometry."""
    index = source.to_index(target.corners())
    low = np.clip(np.floor(index.min(axis=0)).astype(int) - margin, 0, np.array(source.shape) - 1)
    high = np.clip(np.ceil(index.max(axis=0)).astype(int) + margin + 1, low + 1, source.shape)
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    affine = source.affine.copy()
    affine[:3, 3] = source.to_patient(low)
    size = high - low
    return box, Geometry((int(size[0]), int(size[1]), int(size[2])), affine)
