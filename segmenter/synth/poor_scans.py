"""Scans of poor quality for bone: blur, thick slices, smoothing, and resampling before the images were received."""

from dataclasses import replace

import numpy as np
from scipy import ndimage

from segmenter.synth.scanner import FloatVolume, Protocol, interpolate, scan

Spacing = tuple[float, float, float]

RESAMPLED, SMOOTHED = 0.3, 0.3  # of the poor scans
EDGE_HU = (60.0, 250.0)  # steps that an edge-preserving filter keeps


def poor_protocol(rng: np.random.Generator) -> Protocol:
    """Draw a protocol with strong blur in plane, thick slices that overlap or leave gaps, and little dose."""
    thickness = float(np.exp(rng.uniform(np.log(1.5), np.log(5.0))))
    return replace(
        Protocol.sample(rng),
        blur_mm=float(np.exp(rng.uniform(np.log(0.5), np.log(1.8)))),
        sharpen=float(rng.choice([0.0, rng.uniform(0.2, 1.5)])),
        thickness_mm=thickness,
        step_mm=min(thickness * float(rng.choice([1.0, rng.uniform(0.6, 1.4)])), 6.0),
        noise_hu=float(np.exp(rng.uniform(np.log(8), np.log(60)))),
    )


def poor_scan(hu: FloatVolume, spacing: Spacing, rng: np.random.Generator) -> FloatVolume:
    """Return `hu` `(z, y, x)` as a poor scan shows it, some smoothed and some resampled by others; spacing in mm."""
    image = scan(hu, spacing, poor_protocol(rng), rng)
    if rng.random() < SMOOTHED:
        image = edges_kept(image, spacing, rng.uniform(0.8, 2.0), rng.uniform(*EDGE_HU))
    if rng.random() < RESAMPLED:
        step = rng.uniform(2.0, 3.2)
        image = resampled_twice(image, spacing, (step,) * 3 if rng.random() < 0.7 else (spacing[0], step, step), rng)
    return image


def edges_kept(image: FloatVolume, spacing: Spacing, blur_mm: float, edge_hu: float) -> FloatVolume:
    """Return the image smoothed where it is flat: the more a voxel differs from its blurred self, the more it stays."""
    smooth = ndimage.gaussian_filter(image, [blur_mm / mm for mm in spacing])
    stays = 1 - np.exp(-(((image - smooth) / np.float32(edge_hu)) ** 2))
    result: FloatVolume = smooth + stays * (image - smooth)
    return result


def resampled_twice(image: FloatVolume, spacing: Spacing, step: Spacing, rng: np.random.Generator) -> FloatVolume:
    """Return the image taken linearly to a grid of `step` mm that begins anywhere, and linearly back."""
    for axis, (mm, to) in enumerate(zip(spacing, step, strict=True)):
        moved = np.moveaxis(image, axis, 0)
        last = len(moved) - 1
        at = np.arange(-rng.uniform(0, to / mm), last + to / mm, to / mm).clip(0, last)
        back = np.interp(np.arange(len(moved)), at, np.arange(len(at)))
        image = np.moveaxis(interpolate(interpolate(moved, at), back), 0, axis)
    return np.ascontiguousarray(image)
