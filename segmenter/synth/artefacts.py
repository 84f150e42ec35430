"""Beam hardening and metal streaks: the error of the line integrals, projected back as the scanner does.

The projections of bone and metal are taken in parallel beams; their error (a polychromatic beam is hardened, a starved
one is noisy) goes through the ramp filter and back, which gives the dark bands between the hips and the stars around
metal. After De Man et al., Metal streak artifacts in X-ray computed tomography, IEEE TNS 46:691 (1999).
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from segmenter.synth.layers import FloatVolume

ANGLES = 90


@lru_cache(maxsize=4)
def projector(rows: int, columns: int, angles: int = ANGLES) -> sparse.csr_matrix:
    """Return the matrix `(angles * detectors, rows * columns)` of parallel projections, linear between detectors."""
    half = int(np.ceil(np.hypot(rows, columns) / 2)) + 2
    y, x = (np.indices((rows, columns), float).reshape(2, -1).T - [(rows - 1) / 2, (columns - 1) / 2]).T
    pixel = np.arange(rows * columns)
    row, column, value = [], [], []
    for number, angle in enumerate(np.arange(angles) * np.pi / angles):
        at = x * np.cos(angle) + y * np.sin(angle) + half
        lower = np.floor(at).astype(int)
        for shift, share in ((0, lower + 1 - at), (1, at - lower)):
            row.append(number * (2 * half + 1) + lower + shift)
            column.append(pixel)
            value.append(share.astype(np.float32))
    size = (angles * (2 * half + 1), rows * columns)
    return sparse.csr_matrix((np.concatenate(value), (np.concatenate(row), np.concatenate(column))), shape=size)


def reconstruct(error: NDArray[np.float32], rows: int, columns: int) -> FloatVolume:
    """Filter errors of line integrals `(angles, detectors, slices)` by the ramp and project them back; `(z, y, x)`."""
    length = 2 * error.shape[1]
    ramp = np.abs(np.fft.rfftfreq(length))[:, None].astype(np.float32)
    filtered = np.fft.irfft(np.fft.rfft(error, length, axis=1) * ramp, length, axis=1)[:, : error.shape[1]]
    flat = filtered.astype(np.float32).reshape(-1, error.shape[2])
    image = projector(rows, columns, error.shape[0]).T @ flat
    result: FloatVolume = np.moveaxis(image.reshape(rows, columns, -1), -1, 0) * np.float32(np.pi / error.shape[0])
    return result


def artefacts(
    bone: FloatVolume, metal: FloatVolume, step_mm: float, strength: tuple[float, float], rng: np.random.Generator
) -> FloatVolume:
    """Return the HU that beam hardening adds, `(z, y, x)`.

    bone: HU above water, metal: share of the voxel, both `(z, y, x)`, square pixels of `step_mm`; strength: of the
    bands between bones and of the streaks of metal, HU at their darkest hundredth.
    """
    slices, rows, columns = bone.shape
    project = projector(rows, columns)
    paths = [
        (project @ volume.reshape(slices, -1).T).reshape(ANGLES, -1, slices) * np.float32(step_mm)
        for volume in (bone / 1000.0, metal)
    ]
    both = paths[0] + 8.0 * paths[1]
    result = scaled(reconstruct(-(paths[0] ** 2), rows, columns), strength[0])
    if metal.any():
        starved = rng.standard_normal(both.shape).astype(np.float32) * paths[1] ** 1.5
        error = -((both**2) - paths[0] ** 2) + rng.uniform(0.5, 3.0) * both.mean() * starved
        hit = metal.any(axis=(1, 2))
        result[hit] += scaled(reconstruct(error[..., hit], rows, columns), strength[1])
    return result


def scaled(image: FloatVolume, darkest: float) -> FloatVolume:
    """Return the image scaled so that its darkest hundredth is at least `darkest` HU below zero."""
    reach = -float(np.percentile(image, 1))
    result: FloatVolume = np.clip(image * np.float32(darkest / max(reach, 1e-6)), -6 * darkest, 6 * darkest)
    return result
