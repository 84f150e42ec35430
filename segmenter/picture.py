"""The overlay picture: each femur in three planes of the patient, with contours in the colours of the SEG."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_dilation, binary_erosion, map_coordinates

from segmenter.femur import Femur
from segmenter.geometry import Geometry
from segmenter.labels import LABELS, NOTICE
from segmenter.report import FemurReport

PANEL = 520  # pixels, height of every panel
MARGIN_MM = 15.0
MIN_FIELD_MM = 150.0
WINDOW_HU = (-200.0, 1000.0)  # soft tissue still shows, the cortex is not yet white
BAR_MM = 50
BAND = 34  # pixels, height of a line of text
TEXT = (235, 235, 235)


@dataclass(frozen=True)
class View:
    """A plane of the patient: LPS directions to the image's right and down, and what lies left and right."""

    name: str
    right: tuple[int, int, int]
    down: tuple[int, int, int]
    letters: tuple[str, str]

    @property
    def depth_axis(self) -> int:
        """Return the LPS axis looked along."""
        return int(np.argmin(np.abs(self.right) + np.abs(self.down)))


VIEWS = (
    View("coronal", (1, 0, 0), (0, 0, -1), ("R", "L")),  # the patient's right is on the image's left
    View("sagittal", (0, 1, 0), (0, 0, -1), ("A", "P")),
    View("axial", (1, 0, 0), (0, 1, 0), ("R", "L")),
)


def draw_overlay(
    volume: NDArray[Any], geometry: Geometry, femurs: Sequence[Femur], rows: Sequence[FemurReport], path: Path
) -> Path:
    """Write a PNG with one row per femur: coronal, sagittal and axial plane where its mask is largest.

    volume: HU `(z, y, x)`, on `geometry` in any orientation; planes are those of the patient, sampled in mm,
    so pixels are square whatever the voxels are.
    """
    strips = [_row(volume, geometry, femurs, femur, row) for femur, row in zip(femurs, rows, strict=True)]
    width = max(strip.width for strip in strips)
    sheet = Image.new("RGB", (width, sum(strip.height for strip in strips) + BAND))
    top = 0
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height
    ImageDraw.Draw(sheet).text((10, top + 8), NOTICE.capitalize(), TEXT, _font(16))
    sheet.save(path, "PNG")
    return path


def _row(
    volume: NDArray[Any], geometry: Geometry, femurs: Sequence[Femur], femur: Femur, row: FemurReport
) -> Image.Image:
    points = geometry.to_patient(np.argwhere(femur.mask))
    panels = [_panel(volume, geometry, femurs, view, points) for view in VIEWS]
    strip = Image.new("RGB", (sum(panel.width for panel in panels) + 4 * (len(panels) - 1), PANEL + BAND))
    label = LABELS[femur.side]
    text = f"{label.text}   {row.volume_ml:.1f} ml   mean {row.mean_hu:.0f} HU"
    if row.incomplete_reasons:
        text += f"   incomplete: {', '.join(row.incomplete_reasons)}"
    ImageDraw.Draw(strip).text((10, 7), text, label.rgb, _font(18))
    left = 0
    for panel in panels:
        strip.paste(panel, (left, BAND))
        left += panel.width + 4
    return strip


def _panel(
    volume: NDArray[Any], geometry: Geometry, femurs: Sequence[Femur], view: View, points: NDArray[np.float64]
) -> Image.Image:
    """Draw one view; points: the femur's voxel centres `(n, 3)`, LPS mm."""
    low, high = points.min(axis=0), points.max(axis=0)
    centre = (low + high) / 2
    centre[view.depth_axis] = _fullest(points[:, view.depth_axis])
    right, down = np.array(view.right, float), np.array(view.down, float)
    field = np.maximum(np.abs([(high - low) @ right, (high - low) @ down]) + 2 * MARGIN_MM, MIN_FIELD_MM)
    scale = float(field[1]) / PANEL  # mm per pixel
    width = round(float(field[0]) / scale)
    across = (np.arange(width) - (width - 1) / 2) * scale
    along = (np.arange(PANEL) - (PANEL - 1) / 2) * scale
    grid = centre + along[:, None, None] * down + across[None, :, None] * right
    index = np.moveaxis(geometry.to_index(grid), -1, 0)
    hu = map_coordinates(volume, index, np.float32, order=1, mode="constant", cval=-1024)
    grey = np.clip((hu - WINDOW_HU[0]) / (WINDOW_HU[1] - WINDOW_HU[0]), 0, 1) * 255
    rgb = np.repeat(grey.astype(np.uint8)[..., None], 3, axis=-1)
    for femur in femurs:
        share = map_coordinates(femur.mask.view(np.uint8), index, np.float32, order=1, mode="constant", cval=0)
        rgb[_contour(share >= 0.5)] = LABELS[femur.side].rgb
    panel = Image.fromarray(rgb)
    _annotate(panel, view, scale)
    return panel


def _fullest(coordinates: NDArray[np.float64]) -> float:
    """Return the coordinate of the 2 mm layer that holds most voxels."""
    layers, counts = np.unique(np.rint(coordinates / 2), return_counts=True)
    return float(layers[np.argmax(counts)] * 2)


def _contour(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    edge: NDArray[np.bool_] = binary_dilation(inside) & ~binary_erosion(inside)
    return edge


def _annotate(panel: Image.Image, view: View, scale: float) -> None:
    draw, font = ImageDraw.Draw(panel), _font(20)
    draw.text((8, 6), view.name, TEXT, _font(16))
    for letter, x, anchor in ((view.letters[0], 8, "lm"), (view.letters[1], panel.width - 8, "rm")):
        draw.text((x, PANEL // 2), letter, TEXT, font, anchor=anchor, stroke_width=2, stroke_fill=(0, 0, 0))
    bar = round(BAR_MM / scale)
    draw.line([(10, PANEL - 14), (10 + bar, PANEL - 14)], TEXT, 3)
    draw.text((10, PANEL - 38), f"{BAR_MM} mm", TEXT, _font(14), stroke_width=1, stroke_fill=(0, 0, 0))


def _font(size: int) -> Any:
    return ImageFont.load_default(size)
