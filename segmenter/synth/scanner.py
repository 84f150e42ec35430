"""What a CT scanner does to the patient: kernel, slice profile, noise, scale, field of view."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segmenter.volume.resample import OUTSIDE_HU

FloatVolume = NDArray[np.float32]
SOFT_FROM_HU = -200.0  # below it there is gas, which no voltage changes


@dataclass(frozen=True)
class Protocol:
    """One scan: blur and slice in mm, noise in HU (standard deviation in a slice), scale and offset of the HU axis."""

    blur_mm: float
    sharpen: float
    thickness_mm: float
    step_mm: float
    noise_hu: float
    grain_mm: float
    streak: float
    scale: float
    offset_hu: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> "Protocol":
        """Draw one protocol, from thin sharp slices at full dose to the low-dose CT of a PET scanner."""
        thickness = float(np.exp(rng.uniform(np.log(0.6), np.log(5.0))))
        return cls(
            blur_mm=rng.uniform(0.3, 0.9),
            sharpen=rng.choice([0.0, rng.uniform(0.2, 1.0), rng.uniform(0.5, 2.0)]),
            thickness_mm=thickness,
            step_mm=thickness * rng.choice([1.0, 1.0, rng.uniform(0.5, 1.0)]),
            noise_hu=float(np.exp(rng.uniform(np.log(4), np.log(45)))),
            grain_mm=rng.uniform(0.5, 1.1),
            streak=rng.choice([0.0, rng.uniform(0.3, 1.5)]),
            scale=rng.uniform(0.96, 1.04),
            offset_hu=rng.uniform(-12, 12),
        )


def scan(
    hu: FloatVolume, spacing: tuple[float, float, float], protocol: Protocol, rng: np.random.Generator
) -> FloatVolume:
    """Return `hu` `(z, y, x)` as the scanner would show it, resampled to the same grid; spacing `(z, y, x)` mm."""
    z = spacing[0]
    image = reconstructed(hu, spacing, protocol)
    width = protocol.thickness_mm / z
    if width > 1:
        image = ndimage.gaussian_filter1d(image, 0.29 * width, axis=0)  # as wide as a box of that thickness
    step = max(protocol.step_mm / z, 1.0)
    at = np.arange(rng.uniform(0, step), hu.shape[0] - 1 + step, step).clip(0, hu.shape[0] - 1)
    slices = interpolate(image, at) + noise((len(at), *hu.shape[1:]), spacing, protocol, rng)
    position = np.interp(np.arange(hu.shape[0]), at, np.arange(len(at)))
    return interpolate(slices * protocol.scale + protocol.offset_hu, position)


def reconstructed(hu: FloatVolume, spacing: tuple[float, float, float], protocol: Protocol) -> FloatVolume:
    """Return `hu` `(z, y, x)` blurred and sharpened in plane, as the protocol's kernel does; spacing in mm."""
    _, y, x = spacing
    image: FloatVolume = ndimage.gaussian_filter(hu, (0, protocol.blur_mm / y, protocol.blur_mm / x))
    if protocol.sharpen:
        image += protocol.sharpen * (image - ndimage.gaussian_filter(image, (0, 1.6 / y, 1.6 / x)))
    return image


def drifted(hu: FloatVolume, share: float) -> FloatVolume:
    """Return HU stretched about water by a share, as another tube voltage does to mineral and fat; air stays air."""
    if not share:
        return hu
    known = (-1024.0, -1000.0, SOFT_FROM_HU, 4000.0)
    shown = (-1024.0, -1000.0, SOFT_FROM_HU * (1 + share), 4000.0 * (1 + share))
    return np.interp(hu, known, shown).astype(np.float32)


def noise(
    shape: tuple[int, ...], spacing: tuple[float, float, float], protocol: Protocol, rng: np.random.Generator
) -> FloatVolume:
    """Return correlated noise per slice, HU; streaks run along x, from hip to hip, stronger in some slices."""
    grain = (0, protocol.grain_mm / spacing[1], protocol.grain_mm / spacing[2])
    values: FloatVolume = ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), grain)
    if protocol.streak:
        streaks = ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), (0, grain[1], 12.0 / spacing[2]))
        strength = protocol.streak * rng.random((shape[0], 1, 1), np.float32)
        values = values / values.std() + strength * streaks / streaks.std()
    scaled: FloatVolume = values * np.float32(protocol.noise_hu / values.std())
    return scaled


def interpolate(volume: FloatVolume, at: NDArray[np.float64]) -> FloatVolume:
    """Return the volume at fractional slice numbers `at`, linearly."""
    low = np.clip(np.floor(at).astype(int), 0, max(len(volume) - 2, 0))
    share = (at - low).astype(np.float32)[:, None, None]
    high = np.minimum(low + 1, len(volume) - 1)
    result: FloatVolume = volume[low] * (1 - share) + volume[high] * share
    return result


def field_of_view(hu: FloatVolume, low: NDArray[np.int64], high: NDArray[np.int64]) -> None:
    """Blank everything outside the index box `low`..`high` (exclusive) in place: the scan ends there."""
    for axis, (a, b) in enumerate(zip(low, high, strict=True)):
        before: list[slice] = [slice(None)] * 3
        after = before.copy()
        before[axis], after[axis] = slice(0, int(a)), slice(int(b), None)
        hu[tuple(before)] = OUTSIDE_HU
        hu[tuple(after)] = OUTSIDE_HU
