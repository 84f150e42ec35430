"""The overlay: contours where the mask is, in the side's colour, left and right as in the clinic."""

import numpy as np
import pytest
from ct_factory import ORIENTATIONS, CtSpec
from PIL import Image

from segmenter.femur import Femur, Side
from segmenter.labels import LABELS
from segmenter.picture import BAND, PANEL, VIEWS, draw_overlay
from segmenter.report import measure

RADIUS_MM = 11


def overlay(spec, path, sides=(Side.LEFT, Side.RIGHT)):
    masks = dict(zip((Side.LEFT, Side.RIGHT), spec.balls(), strict=True))
    femurs = [Femur(side, masks[side], True) for side in sides]
    volume = np.zeros(spec.shape, np.int16)
    rows = [measure(femur, volume, spec.geometry) for femur in femurs]
    return np.asarray(Image.open(draw_overlay(volume, spec.geometry, femurs, rows, path)).convert("RGB"))


def where(pixels, side):
    """Row and column of the pixels in a side's colour, title line left out."""
    return np.argwhere((pixels == LABELS[side].rgb).all(axis=-1))


def panels(pixels):
    row = pixels[BAND : BAND + PANEL]
    third = (row.shape[1] - 8) // 3
    return [row[:, n * (third + 4) : n * (third + 4) + third] for n in range(3)]


@pytest.mark.parametrize("orientation", ORIENTATIONS.values(), ids=ORIENTATIONS)
def test_a_ball_is_a_circle_of_its_size_in_every_view_of_every_grid(tmp_path, orientation):
    spec = CtSpec(shape=(40, 40, 44), spacing=(1.4, 2.1, 1.2), orientation=orientation)
    for panel in panels(overlay(spec, tmp_path / "o.png", (Side.LEFT,))):
        found = where(panel, Side.LEFT)
        height, width = np.ptp(found, axis=0) / (PANEL / 150)  # pixels per mm at the smallest field
        assert height == pytest.approx(2 * RADIUS_MM, abs=3)
        assert width == pytest.approx(2 * RADIUS_MM, abs=3)
        assert found.mean(axis=0) == pytest.approx(np.array(panel.shape[:2]) / 2, abs=8)


@pytest.mark.parametrize("orientation", ORIENTATIONS.values(), ids=ORIENTATIONS)
def test_the_patients_right_is_on_the_images_left(tmp_path, orientation):
    coronal = panels(overlay(CtSpec(orientation=orientation), tmp_path / "o.png"))[0]
    left, right = where(coronal, Side.LEFT), where(coronal, Side.RIGHT)
    assert right[:, 1].mean() < left[:, 1].mean() - 50
    assert right[:, 0].mean() > left[:, 0].mean() + 20  # the right ball lies lower in the patient


def test_views_look_at_three_axes():
    assert [(view.name, view.depth_axis) for view in VIEWS] == [("coronal", 1), ("sagittal", 0), ("axial", 2)]


def test_one_row_per_femur_and_the_notice(tmp_path):
    one = overlay(CtSpec(), tmp_path / "1.png", (Side.RIGHT,))
    two = overlay(CtSpec(), tmp_path / "2.png")
    assert two.shape[0] - one.shape[0] == PANEL + BAND
    assert not len(where(one, Side.LEFT))
    assert (one[-BAND:].max(axis=-1) > 200).any()  # the notice in the last line
    bar = (one[BAND + PANEL - 14, :400] == 235).all(axis=-1)
    assert bar.sum() == pytest.approx(50 * PANEL / 150, abs=3)  # 50 mm


def test_same_input_gives_the_same_picture(tmp_path):
    overlay(CtSpec(), tmp_path / "a.png")
    overlay(CtSpec(), tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
