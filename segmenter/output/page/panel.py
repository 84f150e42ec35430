"""One panel: a plane of the scan in grey with contours, position, directions and scale."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import binary_dilation, binary_erosion

from segmenter.objects.labels import LABELS
from segmenter.output.page.drawing import BLACK, FOREGROUND, Colour, draw_text, width_of
from segmenter.output.page.views import AIR_HU, Frame, sampled
from segmenter.volume.femur import Femur, Side
from segmenter.volume.geometry import Geometry

WINDOW_HU = (-200.0, 1000.0)  # soft tissue is visible, the cortex not yet white
FINER = 2  # pixels of a contour are drawn at this many times the resolution
HALO = 0.1  # brightness left beside a contour, to separate it from bright bone
TINT = 0.3  # share of white in a contour's colour: in grey print it is still lighter than most bone
DASHES = 28  # around a contour
BAR_MM = 50
SMALL, LETTER = 15, 20


@dataclass(frozen=True, eq=False)
class Scan:
    """What is drawn: HU `(z, y, x)` on `geometry`, and the femurs found in it."""

    volume: NDArray[Any]
    geometry: Geometry
    femurs: Sequence[Femur]


@dataclass(frozen=True)
class Mark:
    """A straight line on a panel, between two pixels, with a label at its end."""

    start: tuple[float, float]
    end: tuple[float, float]
    word: str


def draw_panel(
    scan: Scan, frame: Frame, title: str, own: Side | None = None, marks: Sequence[Mark] = ()
) -> Image.Image:
    """Draw a plane with the contours of all femurs, those of other sides than `own` dashed."""
    index = scan.geometry.to_index(frame.grid(FINER))
    hu = sampled(scan.volume, index, AIR_HU)
    grey = np.clip((hu - WINDOW_HU[0]) / (WINDOW_HU[1] - WINDOW_HU[0]), 0, 1) * 255
    rgb = np.repeat(grey[..., None], 3, axis=-1)
    for femur in scan.femurs:
        inside = sampled(femur.mask.view(np.uint8), index, 0) >= 0.5
        if inside.any():
            _outline(rgb, inside, LABELS[femur.side].rgb, dashed=femur.side is not own)
    panel = Image.fromarray(rgb.astype(np.uint8)).reduce(FINER)
    draw = ImageDraw.Draw(panel)
    for mark in marks:
        _dotted(draw, mark)
    _annotate(draw, frame, title)
    return panel


def _outline(rgb: NDArray[np.float32], inside: NDArray[np.bool_], colour: Colour, *, dashed: bool) -> None:
    """Paint the border of a region in place, with darkened sides that make it visible on any grey."""
    line: NDArray[np.bool_] = binary_dilation(inside, iterations=2) & ~binary_erosion(inside)
    if dashed:
        rows, columns = np.nonzero(inside)
        y, x = np.indices(inside.shape)
        turn = np.arctan2(y - rows.mean(), x - columns.mean()) / (2 * np.pi)
        line &= np.floor(turn * DASHES * 2) % 2 == 0
    rgb[binary_dilation(line, iterations=2) & ~line] *= HALO
    rgb[line] = np.array(colour) * (1 - TINT) + 255 * TINT


def _dotted(draw: ImageDraw.ImageDraw, mark: Mark) -> None:
    """Draw a mark as a dotted line, distinct from both kinds of contour."""
    start, end = np.array(mark.start), np.array(mark.end)
    length = float(np.linalg.norm(end - start))
    for share in np.arange(0, length, 7.0) / max(length, 1.0):
        x, y = start + (end - start) * share
        draw.rectangle((x - 1.5, y - 1.5, x + 1.5, y + 1.5), fill=FOREGROUND, outline=BLACK)
    room = draw.im.size[0] - width_of(mark.word, SMALL) - 4  # a mark may end outside the view
    at = (min(round(float(end[0])) + 6, room), round(float(end[1])))
    draw_text(draw, at, mark.word, SMALL, anchor="lm", stroke_width=2)


def _annotate(draw: ImageDraw.ImageDraw, frame: Frame, title: str) -> None:
    width, height = frame.size
    draw_text(draw, (8, 6), title, SMALL, stroke_width=2)
    draw_text(draw, (8, 24), frame.place, SMALL, stroke_width=2)
    left, right, above, below = frame.view.letters
    for letter, at, anchor in (
        (left, (7, height // 2), "lm"),
        (right, (width - 7, height // 2), "rm"),
        (above, (width // 2, 5), "ma"),
        (below, (width // 2, height - 5), "md"),
    ):
        draw_text(draw, at, letter, LETTER, anchor=anchor, stroke_width=2)
    bar, base = round(BAR_MM / frame.scale), height - 12
    draw.line([(10, base), (10 + bar, base)], BLACK, 7)
    draw.line([(10, base), (10 + bar, base)], FOREGROUND, 3)
    for x in (10, 10 + bar):
        draw.line([(x, base - 6), (x, base + 4)], FOREGROUND, 2)
    draw_text(draw, (10, base - 8), f"{BAR_MM} mm", SMALL, anchor="ls", stroke_width=2)
