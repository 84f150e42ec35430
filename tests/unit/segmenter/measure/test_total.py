"""Where the total proximal femur ends: by the trochanter, by a length, or not at all, and what is said about it."""

import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from femur_model import HEAD_MM, LESSER_MM, Model, grid

from segmenter.measure.anatomy import Anatomy, find_anatomy
from segmenter.measure.distal import shorten
from segmenter.measure.options import STANDARD, MeasureOptions, TotalRule
from segmenter.measure.total import Total, total_of
from segmenter.volume.coverage import FIELD_CUT, HEAD_CUT
from segmenter.volume.geometry import Geometry

BY_LENGTH = MeasureOptions(total_rule=TotalRule.LENGTH)


def total(model: Model, geometry: Geometry, how: MeasureOptions = STANDARD) -> Total:
    return total_of(find_anatomy(model.on(geometry)[0], geometry), (), how)


@cache
def straight() -> Anatomy:
    return find_anatomy(Model().on(grid())[0], grid())


@pytest.mark.parametrize(
    ("how", "rule", "height"),
    [
        (STANDARD, "20 mm below the tip of the lesser trochanter", -LESSER_MM - 20),
        (MeasureOptions(below_trochanter_mm=5.0), "5 mm below the tip of the lesser trochanter", -LESSER_MM - 5),
        (BY_LENGTH, "100 mm below the top of the head", HEAD_MM - 100),
        (replace(BY_LENGTH, total_length_mm=85.5), "85.5 mm below the top of the head", HEAD_MM - 85.5),
    ],
)
def test_the_plane_lies_where_its_rule_says(how, rule, height):
    found = total_of(straight(), (), how)
    assert found.rule == rule
    assert found.warnings == ()
    assert found.plane is not None
    assert found.plane.point_mm[2] == pytest.approx(height, abs=2.0)
    assert found.plane.normal == pytest.approx((0, 0, -1), abs=0.02)


def test_the_plane_is_square_to_a_bent_shaft():
    model = Model(bent=(-30, 0, 15))
    found = total(model, grid())
    assert found.plane is not None
    assert np.array(found.plane.normal) @ model.down > 0.9995
    assert np.array(found.plane.point_mm) @ model.down == pytest.approx(LESSER_MM + 20, abs=2.0)


def test_without_a_trochanter_the_length_is_taken_and_said():
    found = total(Model(lesser=False), grid())
    assert found.rule == "100 mm below the top of the head"
    assert "the lesser trochanter was not found (no prominence" in found.warnings[0]
    assert "ends 100 mm below the top of the head" in found.warnings[0]


def test_a_scan_that_ends_above_the_plane_has_no_total_region():
    found = total(Model(), grid(below_mm=68.0), BY_LENGTH)
    assert (found.rule, found.plane) == ("", None)
    assert "no total region (100 mm below the top of the head)" in found.warnings[0]
    assert re.search(r"visible only down to (9|10|11) mm above", found.warnings[0])


def test_a_bone_shortened_above_the_plane_has_no_total_region():
    geometry = grid()
    femur, _ = shorten(Model().on(geometry)[0], geometry, 92.0)
    found = total_of(find_anatomy(femur, geometry), (), STANDARD)
    assert found.plane is None
    assert "visible only down to" in found.warnings[0]


@pytest.mark.parametrize("reason", [HEAD_CUT, FIELD_CUT])
def test_a_bone_cut_above_has_no_total_region(reason):
    found = total_of(straight(), ("something else", reason), STANDARD)
    assert found.plane is None
    assert found.warnings == (f"no total region (20 mm below the tip of the lesser trochanter): {reason}",)


def test_a_side_of_the_head_cut_by_the_grid_is_seen_without_being_told():
    whole = grid()
    narrow = whole.affine.copy()
    first = 46  # columns: 4 mm of the head's medial side are outside
    narrow[:3, 3] = whole.to_patient(np.array([0, 0, first]))
    found = total(Model(), Geometry((whole.shape[0], whole.shape[1], whole.shape[2] - first), narrow))
    assert found.plane is None
