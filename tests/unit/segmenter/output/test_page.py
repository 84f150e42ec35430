"""The page: contours where the mask is, left and right as in the clinic, readable without colours, never too full."""

import re
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest
from ct_factory import ORIENTATIONS, CtSpec, write_ct
from findings_factory import IDENTITY, certificate, cut_femur, femur, findings, phantom
from PIL import Image
from pydicom.dataset import Dataset

from segmenter.density.calibration import UNCALIBRATED, Calibration, CalibrationMode, Material
from segmenter.measure.findings import Findings
from segmenter.measure.records import Measurements, Plane
from segmenter.output.page import content
from segmenter.output.page.drawing import fitted, width_of, wrapped
from segmenter.output.page.files import save_pdf, save_png
from segmenter.output.page.layout import BOTTOM, HALF, PAGE, TITLE, PageData, draw_page, half_of, panels_of
from segmenter.output.page.panel import Mark, Scan, draw_panel
from segmenter.output.page.plot import draw_plot, ticks
from segmenter.output.page.views import AXIAL, CORONAL, Frame, cuts_through
from segmenter.read.series import read_series
from segmenter.volume.femur import Confidence, Femur, Level, Refusal, Side

RADIUS_MM = 11
BOTH = (Side.LEFT, Side.RIGHT)
LEFT_BALL, RIGHT_BALL = np.array([14, 0, 4]), np.array([-14, 3, -6])  # from the middle of the scan, LPS mm
DEUTERANOPIA = np.array(  # Machado, Oliveira and Fernandes 2009, severity 1, on linear light
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
)


def scan_of(spec, sides=BOTH, hu=0):
    masks = dict(zip(BOTH, spec.balls(), strict=True))
    return Scan(np.full(spec.shape, hu, np.int16), spec.geometry, [Femur(side, masks[side], True) for side in sides])


def page_of(said, sides=BOTH, spec=None):
    scan = scan_of(spec or CtSpec(), sides)
    return draw_page(PageData(scan.volume, scan.geometry, scan.femurs, said, "maker", "source"))


def changed(one, other):
    """Where two pictures differ, `(rows, columns)`."""
    return (np.asarray(one) != np.asarray(other)).any(axis=-1)


def drawn(scan, frame, own=None):
    """Which pixels of a panel the contours changed."""
    bare = replace(scan, femurs=[])
    return changed(draw_panel(scan, frame, "", own), draw_panel(bare, frame, "", own))


@pytest.mark.parametrize("view", [CORONAL, AXIAL], ids=["coronal", "axial"])
@pytest.mark.parametrize("orientation", ORIENTATIONS.values(), ids=ORIENTATIONS)
def test_a_ball_is_a_circle_of_its_size_at_its_place_in_every_grid(orientation, view):
    spec = CtSpec(shape=(40, 40, 44), spacing=(1.4, 2.1, 1.2), orientation=orientation)
    scan = scan_of(spec, (Side.LEFT,))
    centre = spec.centre + LEFT_BALL
    frame = Frame(view, centre - view.axes[0] * 20 - view.axes[1] * 5, 0.5, (240, 200))
    found = np.argwhere(drawn(scan, frame, Side.LEFT))
    assert np.ptp(found, axis=0) * frame.scale == pytest.approx([2 * RADIUS_MM] * 2, abs=3)
    middle = (found.max(axis=0) + found.min(axis=0)) / 2
    assert middle[::-1] == pytest.approx(frame.project(centre), abs=3)
    assert middle[::-1] == pytest.approx((119.5 + 40, 99.5 + 10), abs=3)


@pytest.mark.parametrize("orientation", ORIENTATIONS.values(), ids=ORIENTATIONS)
def test_the_patients_right_is_on_the_images_left(orientation):
    spec = CtSpec(orientation=orientation)
    frame = Frame(CORONAL, spec.centre + (LEFT_BALL + RIGHT_BALL) / 2, 0.5, (200, 160))
    left, right = (np.argwhere(drawn(scan_of(spec, (side,)), frame)).mean(axis=0) for side in BOTH)
    assert right[1] < left[1] - 40
    assert right[0] > left[0] + 10  # the right ball lies lower in the patient
    assert half_of(Side.RIGHT).right < half_of(Side.LEFT).left


def test_contours_are_thin_and_those_of_another_side_dashed():
    spec = CtSpec(shape=(40, 40, 44), spacing=(1.4, 2.1, 1.2))
    frame = Frame(CORONAL, spec.centre + LEFT_BALL, 0.25, (200, 200))
    scan = scan_of(spec, (Side.LEFT,), hu=2000)  # white; what is drawn is darker
    own, other = (np.asarray(draw_panel(scan, frame, "", side)).min(axis=-1) < 250 for side in (Side.LEFT, Side.RIGHT))
    circle = 2 * np.pi * RADIUS_MM / frame.scale
    letters = (np.asarray(draw_panel(replace(scan, femurs=[]), frame, "")).min(axis=-1) < 250).sum()
    assert 2 < (own.sum() - letters) / circle < 5.5  # line and both dark sides
    assert 0.4 < (other.sum() - letters) / (own.sum() - letters) < 0.8


@pytest.mark.parametrize("hu", [-1000, 100, 400, 700, 2000])
@pytest.mark.parametrize("side", BOTH)
def test_contours_show_without_colour_on_any_grey(hu, side):
    spec = CtSpec(shape=(40, 40, 44), spacing=(1.4, 2.1, 1.2))
    ball = LEFT_BALL if side is Side.LEFT else RIGHT_BALL
    frame = Frame(CORONAL, spec.centre + ball, 0.25, (200, 200))
    grey = np.asarray(draw_panel(scan_of(spec, (side,), hu), frame, "", side).convert("L")).astype(int)
    around = grey[40:160, 20:180]  # without letters and bar
    assert np.ptp(around) > 90


def test_both_sides_differ_for_the_colour_blind():
    spec = CtSpec()
    seen = []
    for side in BOTH:
        frame = Frame(CORONAL, np.array(spec.centre), 0.5, (200, 160))
        panel = np.asarray(draw_panel(scan_of(spec, (side,)), frame, "", side)).astype(float) / 255
        vivid = panel[np.ptp(panel, axis=-1) > 0.2].mean(axis=0)
        light = DEUTERANOPIA @ np.where(vivid <= 0.04045, vivid / 12.92, ((vivid + 0.055) / 1.055) ** 2.4)
        seen.append(light)
    assert np.abs(seen[0] - seen[1]).max() > 0.2


@pytest.mark.parametrize("level", [*Level, None])
@pytest.mark.parametrize("made", [femur, cut_femur])
def test_the_heading_tells_the_confidence_or_says_nothing_of_it(made, level):
    one = replace(made("left", UNCALIBRATED), confidence=level and Confidence(level, 3.0))
    title = content.title_of(Side.LEFT, one)
    assert title.endswith(f", confidence {level}") if level else "confidence" not in title
    assert fitted(title, TITLE, HALF - 50) == title


def test_the_coronal_view_follows_a_bent_femur():
    spec = CtSpec(shape=(60, 60, 30), spacing=(3.0, 3.0, 3.0))
    z, y, x = np.moveaxis(spec.geometry.to_patient(np.moveaxis(np.indices(spec.shape), 0, -1)), -1, 0)[::-1]
    shaft = (np.abs(x - 12) < 8) & (np.abs((y + 34) + 0.5 * (z + 410)) < 8)  # forwards as it goes down: LPS y falls
    assert shaft.any()
    coronal, first, second = cuts_through(Femur(Side.LEFT, shaft, True), spec.geometry, cut_femur("left", UNCALIBRATED))
    assert coronal.view.tilt_degrees == pytest.approx(np.degrees(np.arctan(0.5)), abs=2)
    frame = Frame(coronal.view, coronal.centre, 0.5, (200, 400))
    rows = np.argwhere(
        drawn(Scan(np.zeros(spec.shape, np.int16), spec.geometry, [Femur(Side.LEFT, shaft, True)]), frame)
    )
    assert np.ptp(rows[:, 0]) * 0.5 > 165  # all its length lies in the plane
    assert frame.title == "coronal, tilted 27 deg"
    assert (first.view, second.view) == (AXIAL, AXIAL)
    assert first.centre[2] > second.centre[2]


def test_a_mark_is_where_planes_cross():
    frame = Frame(CORONAL, np.array([0.0, 0.0, 0.0]), 0.5, (200, 200))
    point, along = frame.crossing((5.0, 7.0, 10.0), (0.0, 0.0, -1.0))
    assert point == pytest.approx((5.0, 0.0, 10.0))
    assert np.abs(along) == pytest.approx((1.0, 0.0, 0.0))
    tilted = replace(frame, view=replace(CORONAL, down=(0.0, 0.6, -0.8)))
    point, _ = tilted.crossing((0.0, 0.0, -8.0), (0.0, 0.0, 1.0))
    assert tilted.project(point) == pytest.approx((99.5, 99.5 + 10 / 0.5))
    bare = Scan(np.zeros((2, 2, 2), np.int16), CtSpec().geometry, [])
    marked = changed(draw_panel(bare, frame, "", marks=[Mark((50, 30), (120, 30), "cut")]), draw_panel(bare, frame, ""))
    assert set(np.argwhere(marked[:, 48:120])[:, 0]) <= set(range(27, 34))
    # Of a mark that ends at the border the word still stands inside: its last column is free.
    marked = changed(draw_panel(bare, frame, "", marks=[Mark((50, 40), (195, 40), "cut")]), draw_panel(bare, frame, ""))
    assert marked[:, 160:190].any() and not marked[:, 199].any()


def test_places_are_said_in_the_patients_directions():
    for centre, expected in (((0, 12.34, 0), "P 12.3 mm"), ((0, -5, 0), "A 5.0 mm")):
        assert Frame(CORONAL, np.array(centre, float), 1, (9, 9)).place == expected
    for centre, expected in (((0, 0, 7), "H 7.0 mm"), ((0, 0, -410.25), "F 410.2 mm")):
        assert Frame(AXIAL, np.array(centre, float), 1, (9, 9)).place == expected


def test_numbers_stand_in_rows_with_their_material():
    table = content.table_of(femur("left", phantom()), phantom())
    assert table.titles == ("", "volume", "mean ± SD", "vBMD", "BMC")
    assert table.units == ("", "mL", "HU", "mg/cm3 K2HPO4", "g K2HPO4")
    assert [row[0] for row in table.rows] == [
        "whole mask", "total proximal femur", "femoral neck", "cortical", "trabecular"
    ]  # fmt: skip
    assert table.rows[0][1:] == ("180.5", "354 ± 312", "280.0", "50.54")
    assert content.table_of(femur("left", certificate()), certificate()).units[3:] == ("mg/cm3 HA", "g HA")
    bare = content.table_of(femur("left", UNCALIBRATED), UNCALIBRATED)
    assert bare.units == ("", "mL", "HU")
    assert bare.rows[0] == ("whole mask", "180.5", "354 ± 312")


def test_what_to_beware_of_is_said_from_bad_to_mild():
    whole = femur("left", phantom())
    unsure = replace(whole, neck=replace(whole.neck, problems=("no axis",)), contrast_suspected=True)
    said = Findings(
        Measurements((unsure, cut_femur("right", phantom()))),
        replace(phantom(), warnings=("rods are noisy",)),
        ("3 slices left out",),
    )
    assert content.warnings_of(said) == (
        "left: contrast agent suspected",
        "left neck (!): no axis",
        "right: head cut off by the scan",
        "right: metal or implant suspected",
        "right: metal within 10 mm of the bone: densities near it are wrong",
        "rods are noisy",
        "3 slices left out",
    )
    assert content.table_of(unsure, phantom()).rows[2][0] == "femoral neck (!)"
    assert content.title_of(Side.RIGHT, said.measurements.femurs[1]) == "Right proximal femur, incomplete"
    assert content.title_of(Side.LEFT, None) == "Left: no proximal femur found"


def test_a_side_that_was_refused_says_so_and_why():
    said = replace(findings(phantom(), "left"), refused=(Refusal(Side.RIGHT, "bone cut by the field of view"),))
    assert content.nothing_on(Side.RIGHT, said).startswith("Bone on this side is not claimed to be a femur")
    assert content.nothing_on(Side.LEFT, said).startswith("No proximal femur was found on this side")
    assert "right: no femur is claimed: bone cut by the field of view" in content.warnings_of(said)
    assert changed(page_of(said, (Side.LEFT,)), page_of(findings(phantom(), "left"), (Side.LEFT,))).any()


@pytest.mark.parametrize(
    ("calibration", "expected"),
    [
        (phantom(), ["phantom in this scan", "equivalent material K2HPO4", "HU = 1.25 x density + 4.5", "r2 = 0.9987",
                     "largest residual +3.0 HU", "phantom Mindways Model 3 CT", "serial M3-0815",
                     "certificate of 2023-11-30"]),
        (certificate(), ["by certificate, no rods in this scan", "equivalent material HA", "HU = 0.9 x density - 2",
                         "phantom QRM-BDC", "serial 77", "certificate of 2024-02-29"]),
        (UNCALIBRATED, ["Not calibrated: HU only"]),
    ],
)  # fmt: skip
def test_the_calibration_is_told_in_lines(calibration, expected):
    assert list(content.calibration_lines(calibration)) == expected


def test_the_comparison_and_the_shape_are_told_in_a_line():
    said = findings(phantom(), "left", "right")
    assert content.comparison_of(said.measurements.asymmetry[0]) == (
        "left against right, total proximal femur: volume +1.2 % | mean -12 HU | vBMD -2.5 % | BMC +0.8 %"
    )
    assert content.shape_of(said.measurements.femurs[0]) == (
        "neck-shaft angle 127 deg | narrowest neck 8.1 cm2 | total: 100 mm below the top of the head"
    )
    assert content.shape_of(cut_femur("left", phantom())) == ""


def test_the_source_names_the_energy_and_no_voltage_that_holds_for_some_slices_only(tmp_path):
    tags = {"KVP": "120", "ImageType": ["DERIVED", "PRIMARY", "AXIAL", "VMI"], "SeriesDescription": "MonoE 140 keV"}
    energy = read_series(write_ct(tmp_path / "energy", CtSpec(tags=tags)))
    assert content.describe_source(energy).endswith("3.00 mm, monoenergetic at 140 keV, 120 kVp")

    def edit(index: int, ds: Dataset) -> None:
        ds.KVP = "80" if index < 5 else "120"

    mixed = read_series(write_ct(tmp_path / "mixed", CtSpec(), edit))
    assert content.describe_source(mixed).endswith("x 3.00 mm")


def test_the_source_is_told_without_a_word_of_the_header(tmp_path):
    tags = {"KVP": "120", "SeriesDescription": "Smith hip", "PatientName": "Smith", "StationName": "Smith"}
    series = read_series(write_ct(tmp_path / "ct", CtSpec(tags=tags)))
    assert content.describe_source(series) == "CT 28 x 24 x 20, 2.00 x 2.50 x 3.00 mm, 120 kVp"
    bare = read_series(write_ct(tmp_path / "bare", CtSpec()))
    assert content.describe_source(bare) == "CT 28 x 24 x 20, 2.00 x 2.50 x 3.00 mm"
    assert re.fullmatch(r"femur-vnet 1\.2\.3, model abababababab, qct-node \S+", content.describe_maker(IDENTITY))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 10, [0, 2, 4, 6, 8, 10]), (-85, 407, [0, 100, 200, 300, 400]), (-0.3, 0.7, [-0.2, 0, 0.2, 0.4, 0.6]),
     (1000, 1003, [1000, 1000.5, 1001, 1001.5, 1002, 1002.5, 1003])],
)  # fmt: skip
def test_axes_have_round_numbers(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


def test_the_plot_shows_each_rod_where_it_was_measured():
    size, calibration = (450, 226), phantom()
    plain = draw_plot(calibration, size)
    more = replace(calibration, rods=(*calibration.rods, replace(calibration.rods[3], density_mg_cm3=300.0)))
    rows, columns = np.nonzero(changed(plain, draw_plot(more, size)))
    # The axes are 6 % longer than rods and line reach.
    across = 62 + (450 - 76) * (300 - -79.15) / (401.58 - -79.15)
    down = 10 + (226 - 58) * (1 - (199.3 - -130.5) / (542.5 - -130.5))
    assert [columns.min(), columns.max()] == pytest.approx([across - 6, across + 6], abs=2)
    assert [rows.min(), rows.max()] == pytest.approx([down - 6, down + 6], abs=2)
    assert draw_plot(certificate(), size).size == size
    assert draw_plot(replace(phantom(), rods=phantom().rods[:1]), size).size == size


def test_text_never_leaves_its_room():
    for text in ("a", "word " * 50, "x" * 400, "Größe µ ₂ 日本 " * 20, ""):
        assert width_of(fitted(text, 16, 200), 16) <= 200
        lines = wrapped(text, 16, 200)
        assert all(width_of(line, 16) <= 200 for line in lines)
        assert all(ord(letter) < 128 for line in lines for letter in line)
    assert wrapped("one two three", 16, 10_000) == ["one two three"]
    assert fitted("one two", 16, 10_000) == "one two"


def test_any_number_of_warnings_stays_in_its_box():
    calm = findings(UNCALIBRATED, "left")
    full = replace(calm, warnings=tuple(f"warning {n} " + "goes on and on " * (n % 9) for n in range(60)))
    wordy = replace(calm, warnings=("w" * 2000, "long " * 2000, "after"))
    bare = page_of(calm, (Side.LEFT,))
    for said in (full, wordy):
        assert len(content.warnings_of(said)) > 2
        rows, columns = np.nonzero(changed(page_of(said, (Side.LEFT,)), bare))
        assert rows.min() > BOTTOM.top
        assert rows.max() < BOTTOM.bottom
        assert columns.min() > BOTTOM.right - HALF
        assert columns.max() < BOTTOM.right


CASES = {
    "two, calibrated": (findings(phantom(), "left", "right"), BOTH),
    "one, by certificate": (findings(certificate(Material.K2HPO4), "right"), (Side.RIGHT,)),
    "cut by the scan": (Findings(Measurements((cut_femur("left", UNCALIBRATED),))), (Side.LEFT,)),
    "nothing found": (Findings(Measurements(()), Calibration(CalibrationMode.NONE, warnings=("no rods",))), ()),
}


@pytest.mark.parametrize(("said", "sides"), CASES.values(), ids=CASES)
def test_every_case_has_a_page(said, sides):
    page = page_of(said, sides)
    assert (page.mode, page.size) == ("RGB", PAGE)
    pixels = np.asarray(page).astype(int)
    for side in BOTH:
        half = half_of(side)
        views = pixels[half.top : half.bottom, half.left : half.right]
        vivid = (np.ptp(views, axis=-1) > 60).sum()
        assert (vivid > 100) == bool(sides)  # contours, in the view of the whole scan, too
        below = pixels[half.bottom : BOTTOM.top - 40, half.left : half.right]
        assert (below > 200).any()  # numbers, or that there are none


def test_the_same_subject_gives_the_same_files(tmp_path):
    pages = [page_of(findings(phantom(), "left", "right")) for _ in range(2)]
    for name, page in zip("ab", pages, strict=True):
        save_png(page, tmp_path / f"{name}.png")
        save_pdf(page, tmp_path / f"{name}.pdf", datetime(2024, 5, 2, 8, 9, 10))
    for kind in ("png", "pdf"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()
    assert (np.asarray(Image.open(tmp_path / "a.png")) == np.asarray(pages[0])).all()
    pdf = (tmp_path / "a.pdf").read_bytes()
    assert pdf.startswith(b"%PDF") and b"D:20240502080910Z" in pdf and pdf.count(b"/Type /Page\n") == 1


def test_the_views_fill_their_half_without_touching():
    for side in BOTH:
        half = half_of(side)
        coronal, first, second = panels_of(half)
        assert coronal.right < first.left == second.left
        assert first.bottom < second.top
        assert max(first.right, second.right) == half.right
        assert max(coronal.bottom, second.bottom) == half.bottom


def test_the_cut_of_the_total_region_is_drawn_where_it_is():
    spec = CtSpec()
    whole = replace(femur("left", UNCALIBRATED), neck=None)
    pages = [
        page_of(Findings(Measurements((replace(whole, total_plane=plane),))), (Side.LEFT,), spec)
        for plane in (None, Plane(tuple(spec.centre + LEFT_BALL), (0, 0, -1)))
    ]
    rows, columns = np.nonzero(changed(*pages))
    box = panels_of(half_of(Side.LEFT))[0]
    assert abs(rows.mean() - (box.top + box.height / 2)) < 8
    assert box.left < columns.min() and columns.max() < box.right
