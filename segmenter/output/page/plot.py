"""The calibration as a plot: measured rods, the line through them, and both axes with units."""

import math

from PIL import Image, ImageDraw

from segmenter.density.calibration import Calibration
from segmenter.output.page.drawing import BACKGROUND, DARK_GREY, FOREGROUND, GREY, Box, draw_text

SMALL = 14
RADIUS = 5
CERTIFICATE_RANGE = (0.0, 800.0)  # mg/cm3, of a line without rods: fat-free marrow to dense cortex
Range = tuple[float, float]


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round numbers within a range, at most `most`, in even steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [step * n for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def draw_plot(calibration: Calibration, size: tuple[int, int]) -> Image.Image:
    """Draw HU over density of a usable calibration; error bars are one SD of a rod."""
    plot = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(plot)
    field = Box(62, 10, size[0] - 76, size[1] - 58)
    densities, hu = _ranges(calibration)

    def place(density: float, value: float) -> tuple[float, float]:
        x = field.left + (density - densities[0]) / (densities[1] - densities[0]) * field.width
        return x, field.bottom - (value - hu[0]) / (hu[1] - hu[0]) * field.height

    draw.rectangle((field.left, field.top, field.right, field.bottom), outline=DARK_GREY)
    for density in ticks(*densities):
        column = round(place(density, hu[0])[0])
        draw.line([(column, field.bottom), (column, field.bottom + 5)], GREY)
        draw_text(draw, (column, field.bottom + 8), f"{density:g}", SMALL, fill=GREY, anchor="ma")
    for value in ticks(*hu):
        row = round(place(densities[0], value)[1])
        draw.line([(field.left - 5, row), (field.left, row)], GREY)
        draw_text(draw, (field.left - 8, row), f"{value:g}", SMALL, fill=GREY, anchor="rm")
    name = f"density, mg/cm3 {calibration.material}"
    draw_text(draw, (field.left + field.width // 2, size[1] - 2), name, SMALL, anchor="md")
    draw_text(draw, (field.left + 6, field.top + 4), "HU", SMALL)
    draw.line([place(density, _line(calibration, density)) for density in densities], GREY, 2)
    for rod in calibration.rods:
        x, y = place(rod.density_mg_cm3, rod.hu)
        reach = rod.sd_hu / (hu[1] - hu[0]) * field.height
        draw.line([(x, y - reach), (x, y + reach)], FOREGROUND, 1)
        draw.ellipse((x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS), fill=BACKGROUND, outline=FOREGROUND, width=2)
    return plot


def _line(calibration: Calibration, density: float) -> float:
    assert calibration.slope_hu_per_mg_cm3 is not None
    assert calibration.intercept_hu is not None
    return calibration.slope_hu_per_mg_cm3 * density + calibration.intercept_hu


def _ranges(calibration: Calibration) -> tuple[Range, Range]:
    """Return the ranges of density and HU that hold the rods with their SD and the line, with a margin."""
    densities = [rod.density_mg_cm3 for rod in calibration.rods] or list(CERTIFICATE_RANGE)
    across = _widened(densities)
    values = [_line(calibration, density) for density in across]
    values += [rod.hu + sign * rod.sd_hu for rod in calibration.rods for sign in (-1, 1)]
    return across, _widened(values)


def _widened(values: list[float]) -> Range:
    low, high = min(values), max(values)
    margin = max((high - low) * 0.06, 1.0)
    return low - margin, high + margin
