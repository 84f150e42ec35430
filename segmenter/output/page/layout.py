"""The layout of the page: the patient's right femur on the left and the left one on the right, as in the images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from segmenter.measure.findings import Findings
from segmenter.measure.records import FemurMeasurements
from segmenter.objects.labels import LABELS, NOTICE
from segmenter.output.page import content
from segmenter.output.page.drawing import BACKGROUND, DARK_GREY, FOREGROUND, GREY, Box, draw_text, fitted, wrapped
from segmenter.output.page.panel import Mark, Scan, draw_panel
from segmenter.output.page.plot import draw_plot
from segmenter.output.page.views import AXIAL, CORONAL, Cut, Frame, cuts_through
from segmenter.volume.femur import Femur, Side
from segmenter.volume.geometry import Geometry

PAGE = (1600, 1200)
MARGIN, GAP = 10, 8
HALF = (PAGE[0] - 2 * MARGIN - 2 * GAP) // 2
HEADER, HEADING = 48, 38
VIEWS_TOP, VIEWS_HEIGHT = HEADER + HEADING, 548
TABLE_TOP = VIEWS_TOP + VIEWS_HEIGHT + 10
LINE, COLUMNS = 27, (0, 330, 490, 636, 778)
BOTTOM = Box(MARGIN, 886, PAGE[0] - 2 * MARGIN, 268)
TITLE, TEXT, SMALL = 24, 19, 16
CUT_MM, NECK_MM = 30.0, 45.0  # half lengths of the lines that show a cut and a neck's axis


Cuts = Mapping[Side, tuple[Cut, Cut, Cut]]


@dataclass(frozen=True, eq=False)
class PageData:
    """The data of one page.

    volume: HU `(z, y, x)` on `geometry`. maker, source: the texts of describe_maker() and describe_source().
    """

    volume: NDArray[Any]
    geometry: Geometry
    femurs: Sequence[Femur]
    findings: Findings
    maker: str
    source: str


def draw_page(data: PageData) -> Image.Image:
    """Draw the page, RGB, 1600 x 1200; the same data gives the same pixels. No name, number or date is on it."""
    page = Image.new("RGB", PAGE, BACKGROUND)
    draw = ImageDraw.Draw(page)
    measured = {Side(femur.side): femur for femur in data.findings.measurements.femurs}
    cuts = {
        femur.side: cuts_through(femur, data.geometry, measured[femur.side])
        for femur in data.femurs
        if femur.side in measured
    }
    _head(draw)
    for side in (Side.RIGHT, Side.LEFT):
        _half(page, draw, data, side, cuts)
    for asymmetry in data.findings.measurements.asymmetry[:1]:
        text = fitted(content.comparison_of(asymmetry), TEXT, BOTTOM.width)
        draw_text(draw, (PAGE[0] // 2, BOTTOM.top - 8), text, TEXT, anchor="md")
    _calibration(page, draw, data.findings)
    _warnings(draw, content.warnings_of(data.findings))
    _foot(draw, data)
    return page


def half_of(side: Side) -> Box:
    """Return where the views of a side are."""
    left = MARGIN if side is Side.RIGHT else PAGE[0] - MARGIN - HALF
    return Box(left, VIEWS_TOP, HALF, VIEWS_HEIGHT)


def panels_of(half: Box) -> tuple[Box, Box, Box]:
    """Return where the coronal view and both axial ones are."""
    wide = (half.width - GAP) // 2
    high = (half.height - GAP) // 2
    beside = half.left + wide + GAP
    return (
        Box(half.left, half.top, wide, half.height),
        Box(beside, half.top, wide, high),
        Box(beside, half.top + high + GAP, wide, high),
    )


def _head(draw: ImageDraw.ImageDraw) -> None:
    draw_text(draw, (MARGIN, HEADER // 2), "Proximal femur, quantitative CT", TITLE, anchor="lm")
    notice = NOTICE.upper()
    draw_text(draw, (PAGE[0] - MARGIN - 12, HEADER // 2), notice, TEXT, anchor="rm")
    width = round(draw.textlength(notice, font=None, font_size=TEXT))
    draw.rectangle((PAGE[0] - MARGIN - width - 26, 8, PAGE[0] - MARGIN, HEADER - 8), outline=FOREGROUND, width=2)


def _half(page: Image.Image, draw: ImageDraw.ImageDraw, data: PageData, side: Side, cuts: Cuts) -> None:
    """Draw one side: heading, views and numbers; if it has no femur, the whole scan."""
    half, colour = half_of(side), LABELS[side].rgb
    femur = next((femur for femur in data.findings.measurements.femurs if femur.side == side), None)
    draw.rectangle((half.left, HEADER + 2, half.left + 34, HEADER + 34), outline=colour, width=3)
    draw_text(draw, (half.left + 17, HEADER + 18), side[0].upper(), TITLE, fill=colour, anchor="mm")
    title = fitted(content.title_of(side, femur), TITLE, HALF - 50)
    draw_text(draw, (half.left + 46, HEADER + 18), title, TITLE, fill=colour, anchor="lm")
    if femur is None or side not in cuts:
        _whole_scan(page, data, side, cuts)
        draw_text(draw, (half.left, TABLE_TOP), content.nothing_on(side, data.findings), TEXT)
        return
    _views(page, data, side, cuts, femur)
    _table(draw, half.left, femur, data.findings)


def _views(page: Image.Image, data: PageData, side: Side, cuts: Cuts, femur: FemurMeasurements) -> None:
    """Draw a coronal and two axial views; each kind at the same scale on both sides."""
    scan = Scan(data.volume, data.geometry, data.femurs)
    boxes = panels_of(half_of(side))
    frames = []
    for cut, box in zip(cuts[side], boxes, strict=True):
        size = (box.width, box.height)
        scale = max(other.scale(size) for each in cuts.values() for other in each if other.view.name == cut.view.name)
        frames.append(Frame(cut.view, cut.centre, scale, size))
    marks = [*_axial_marks(frames[0], cuts[side]), *_plane_marks(frames[0], femur)]
    for frame, box, number, shown in zip(frames, boxes, ("", " 1", " 2"), (marks, [], []), strict=True):
        page.paste(draw_panel(scan, frame, frame.title + number, side, shown), (box.left, box.top))


def _axial_marks(frame: Frame, cuts: tuple[Cut, ...]) -> list[Mark]:
    """Return marks of the axial views in a coronal one: short lines near its right border, with their numbers."""
    marks = []
    for number, cut in enumerate(cuts[1:], 1):
        point, _ = frame.crossing(cut.centre, cut.view.axes[2])
        _, y = frame.project(point)
        marks.append(Mark((frame.size[0] - 78, y), (frame.size[0] - 46, y), str(number)))
    return marks


def _plane_marks(frame: Frame, femur: FemurMeasurements) -> list[Mark]:
    """Return the cut of the total region and the axis of the neck, projected onto the plane."""
    marks = []
    if femur.total_plane:
        point, along = frame.crossing(femur.total_plane.point_mm, femur.total_plane.normal)
        ends = sorted(frame.project(point + sign * CUT_MM * along) for sign in (-1, 1))
        marks.append(Mark(ends[0], ends[1], "total"))
    if femur.neck:
        point, axis = np.array(femur.neck.centre_mm), np.array(femur.neck.axis)
        start, end = (frame.project(point + reach * axis) for reach in (-NECK_MM, NECK_MM))
        marks.append(Mark(start, end, "neck"))
    return marks


def _whole_scan(page: Image.Image, data: PageData, side: Side, cuts: Cuts) -> None:
    """Draw the whole scan that was searched in place of a femur; through the other neck, if it was found."""
    half = half_of(side)
    view = CORONAL if side is Side.RIGHT or cuts else AXIAL
    corners = data.geometry.corners()
    low, high = corners.min(axis=0), corners.max(axis=0)
    centre = (low + high) / 2
    for _, through_neck, _ in cuts.values():
        centre[view.depth_axis] = through_neck.centre[view.depth_axis]
    size = (half.width, half.height)
    extent = np.abs(view.axes[:2] @ (high - low))
    frame = Frame(view, centre, float((extent / np.array(size)).max()), size)
    scan = Scan(data.volume, data.geometry, data.femurs)
    page.paste(draw_panel(scan, frame, f"whole scan, {frame.title}"), (half.left, half.top))


def _table(draw: ImageDraw.ImageDraw, left: int, femur: FemurMeasurements, findings: Findings) -> None:
    """Write the numbers of one femur below its views."""
    table = content.table_of(femur, findings.calibration)
    for titles, size, top in ((table.titles, TEXT, TABLE_TOP), (table.units, SMALL, TABLE_TOP + 20)):
        for text, column in zip(titles[1:], COLUMNS[1:], strict=False):
            draw_text(draw, (left + column, top), text, size, fill=GREY, anchor="ra")
    top = TABLE_TOP + 42
    draw.line([(left, top), (left + HALF, top)], DARK_GREY)
    for row in table.rows[:5]:
        draw_text(draw, (left, top + 4), row[0], TEXT)
        for text, column in zip(row[1:], COLUMNS[1:], strict=False):
            draw_text(draw, (left + column, top + 4), text, TEXT, anchor="ra")
        top += LINE
    if not findings.calibration.usable:
        draw_text(draw, (left + COLUMNS[-1], TABLE_TOP), content.UNCALIBRATED_SENTENCE, TEXT, anchor="ra")
    draw_text(draw, (left, top + 8), fitted(content.shape_of(femur), SMALL, HALF), SMALL, fill=GREY)


def _calibration(page: Image.Image, draw: ImageDraw.ImageDraw, findings: Findings) -> None:
    """Draw the calibration into the left half of the bottom."""
    box = Box(BOTTOM.left, BOTTOM.top, HALF, BOTTOM.height)
    draw.rectangle((box.left, box.top, box.right, box.bottom), outline=DARK_GREY)
    draw_text(draw, (box.left + 12, box.top + 8), "Calibration", TEXT)
    lines = content.calibration_lines(findings.calibration)
    if not findings.calibration.usable:
        draw_text(draw, (box.left + box.width // 2, box.top + box.height // 2), lines[0], TITLE, anchor="mm")
        return
    page.paste(draw_plot(findings.calibration, (450, box.height - 42)), (box.left + 6, box.top + 36))
    top = box.top + 40
    for line in lines:
        draw_text(draw, (box.left + 470, top), fitted(line, SMALL, box.width - 482), SMALL)
        top += 25


def _warnings(draw: ImageDraw.ImageDraw, warnings: Sequence[str]) -> None:
    """Write the warnings into the right half of the bottom; those that do not fit are counted."""
    box = Box(BOTTOM.right - HALF, BOTTOM.top, HALF, BOTTOM.height)
    draw.rectangle((box.left, box.top, box.right, box.bottom), outline=DARK_GREY)
    heading = f"Warnings ({len(warnings)})" if warnings else "No warnings"
    draw_text(draw, (box.left + 12, box.top + 8), heading, TEXT)
    room = (box.height - 44) // 22
    lines = [wrapped(warning, SMALL, box.width - 44) for warning in warnings]
    shown = _count_that_fit([len(each) for each in lines], room)
    top = box.top + 38
    for each in lines[:shown]:
        draw_text(draw, (box.left + 12, top), "!", SMALL)
        for line in each:
            draw_text(draw, (box.left + 28, top), line, SMALL)
            top += 22
    if shown < len(lines):
        draw_text(draw, (box.left + 28, top), f"and {len(lines) - shown} more: see the report", SMALL)


def _count_that_fit(heights: Sequence[int], room: int) -> int:
    """Return how many of the texts fit into `room` lines; if not all fit, one line is kept for the count."""
    if sum(heights) <= room:
        return len(heights)
    return int((np.cumsum(heights) <= room - 1).sum())


def _foot(draw: ImageDraw.ImageDraw, data: PageData) -> None:
    """Write the model and the source below the page."""
    top = (BOTTOM.bottom + PAGE[1]) // 2
    draw_text(draw, (MARGIN, top), fitted(data.maker, SMALL, HALF), SMALL, fill=GREY, anchor="lm")
    text = fitted(f"{data.source} | {NOTICE}", SMALL, HALF)
    draw_text(draw, (PAGE[0] - MARGIN, top), text, SMALL, fill=GREY, anchor="rm")
