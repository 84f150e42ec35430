"""Comparison of the pixels in a viewport with the image and the masks it should show."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates, uniform_filter

from segmenter.objects.labels import LABELS
from segmenter.volume.femur import Side

Canvas = NDArray[np.float64]  # `(row, column, RGB)`, 0-255
Mask = NDArray[np.bool_]

FINE = 8  # pixels of a page


@dataclass(frozen=True)
class Image:
    """An image `(row, column)` as grey of the viewer's window, its spacing in mm, and its masks, none empty."""

    grey: NDArray[np.floating[Any]]
    spacing: tuple[float, float]
    masks: Mapping[Side, Mask]


def faults(canvas: Canvas, image: Image) -> list[str]:
    """Return the faults of an image seen from the feet or the front; empty if it is shown correctly."""
    scale, correlation = found_scale(canvas, image)
    found = _unlike(correlation, 0.98)
    for side, drawn in drawn_sides(canvas).items():
        if not drawn.any():
            found.append(f"the colour of {LABELS[side].text} is not there")
            continue
        # The patient's left is at the right of such an image (PS3.3 C.7.6.1.1.1).
        at_right = np.flatnonzero(drawn.any(0)) > canvas.shape[1] / 2
        if not (at_right == (side is Side.LEFT)).all():
            found.append(f"the colour of {LABELS[side].text} is at the wrong side of the viewport")
        seen = at_pixels(drawn, image, scale) > 0.5
        dice = 2 * (seen & image.masks[side]).sum() / (seen.sum() + image.masks[side].sum())
        if dice < 0.97:
            found.append(f"the colour of {LABELS[side].text} and its mask agree by Dice {dice:.3f} only")
    return found


def page_faults(canvas: Canvas, page: PIL.Image.Image) -> list[str]:
    """Return the faults of a page that fills the viewport; its letters are too fine to be compared line by line."""
    small = page.convert("RGB").resize((page.width // FINE, page.height // FINE), PIL.Image.Resampling.BOX)
    wide = round(min(canvas.shape[0] / small.height, canvas.shape[1] / small.width))
    smooth = uniform_filter(canvas, (wide, wide, 0))
    _, correlation = found_scale(smooth, Image(np.asarray(small, float).mean(-1), (1.0, 1.0), {}))
    return _unlike(correlation, 0.95)


def _unlike(correlation: float, least: float) -> list[str]:
    return [] if correlation >= least else [f"what is drawn correlates with the image by {correlation:.3f} only"]


def drawn_sides(canvas: Canvas) -> dict[Side, Mask]:
    """Return the pixels of each side's colour: the remainder after the grey is subtracted."""
    chroma = canvas - canvas.mean(-1, keepdims=True)
    strength = np.linalg.norm(chroma, axis=-1)
    sides = {}
    for side, label in LABELS.items():
        colour = np.array(label.rgb, float) - np.mean(label.rgb)
        likeness = chroma @ (colour / np.linalg.norm(colour)) / np.maximum(strength, 1e-9)
        sides[side] = (strength > 25) & (likeness > 0.97)
    return sides


def found_scale(canvas: Canvas, image: Image) -> tuple[float, float]:
    """Return at how many canvas pixels per mm the image is drawn, and the correlation there.

    The image should fill the canvas about its centre. The viewer is not asked how it drew the image: one that is
    flipped, rotated or shifted fits at no scale. Coloured pixels do not count.
    """
    drawn = np.where(np.logical_or(*drawn_sides(canvas).values()), np.nan, canvas.mean(-1))
    size = np.multiply(image.grey.shape, image.spacing)
    correlations = {}
    for scale in (drawn.shape / size).min() * np.linspace(0.9, 1.1, 41):
        sampled = at_pixels(drawn, image, scale)
        seen = np.isfinite(sampled)
        if np.ptp(sampled[seen]) > 0:  # something is drawn
            correlations[float(scale)] = float(np.corrcoef(sampled[seen], image.grey[seen])[0, 1])
    return max(correlations.items(), key=lambda item: item[1], default=(1.0, 0.0))


def at_pixels(drawn: NDArray[Any], image: Image, scale: float) -> NDArray[np.float64]:
    """Sample a canvas at the centres of an image's pixels; NaN where the image is outside the canvas."""
    rows, columns = (
        (np.arange(pixels) - (pixels - 1) / 2) * step * scale + (side - 1) / 2
        for pixels, step, side in zip(image.grey.shape, image.spacing, drawn.shape, strict=True)
    )
    places = np.meshgrid(rows, columns, indexing="ij")
    sampled: NDArray[np.float64] = map_coordinates(drawn.astype(float), places, order=1, cval=np.nan)
    return sampled
