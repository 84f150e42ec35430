"""Boxes, colours and text on the page."""

from bisect import bisect_left
from dataclasses import dataclass
from functools import cache
from typing import Any

from PIL import ImageDraw, ImageFont

from segmenter.objects.plain_text import plain

Colour = tuple[int, int, int]

BACKGROUND: Colour = (10, 10, 12)  # dark, like the other images of the study
FOREGROUND: Colour = (238, 238, 238)
GREY: Colour = (172, 172, 172)
DARK_GREY: Colour = (92, 92, 92)
BLACK: Colour = (0, 0, 0)


@dataclass(frozen=True)
class Box:
    """A rectangle of the page, pixels."""

    left: int
    top: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """Return the first column to the right of the box."""
        return self.left + self.width

    @property
    def bottom(self) -> int:
        """Return the first row below the box."""
        return self.top + self.height


@cache
def font(size: int) -> Any:
    """Return Pillow's built-in font, the same on every machine; it covers ASCII only."""
    return ImageFont.load_default(size)


def width_of(text: str, size: int) -> int:
    """Return how wide a text is, pixels."""
    return int(font(size).getlength(text) + 0.5)


def fitted(text: str, size: int, width: int) -> str:
    """Return the text in ASCII, shortened with three dots if it is wider than `width` pixels."""
    text = plain(text)
    if width_of(text, size) <= width:
        return text
    kept = bisect_left(range(len(text)), x=True, key=lambda n: width_of(f"{text[: n + 1]}...", size) > width)
    return f"{text[:kept].rstrip()}..."


def wrapped(text: str, size: int, width: int) -> list[str]:
    """Return the text in ASCII, broken between words into lines of at most `width` pixels; a longer word is cut."""
    lines: list[str] = []
    for word in plain(text).split():
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and width_of(joined, size) <= width:
            lines[-1] = joined
        else:
            lines.append(fitted(word, size, width))
    return lines


def draw_text(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: int, **options: Any) -> None:
    """Write one line; options: fill, anchor and stroke_width as Pillow names them."""
    draw.text(at, text, font=font(size), **{"fill": FOREGROUND, "stroke_fill": BLACK, **options})
