"""Head, shaft, lesser trochanter and neck of a bone whose parts are known: any grid, any side, any posture."""

import numpy as np
import pytest
from femur_model import ANGLE_DEG, HEAD_MM, LESSER_MM, NECK_MM, Model, grid

from segmenter.measure.anatomy import Anatomy, find_anatomy
from segmenter.measure.axes import fit_sphere
from segmenter.volume.femur import Femur, Side
from segmenter.volume.geometry import Geometry

CASES = {
    "axial": (Model(), grid()),
    "right side": (Model(Side.RIGHT), grid()),
    "thick slices": (Model(), grid((5.0, 1.0, 1.0))),
    "oblique": (Model(), grid((2.5, 2.0, 2.0), turned=(30, 20, 10))),
    "tilted gantry": (Model(), grid(shear=0.3)),
    "bent and turned leg": (Model(bent=(-30, 0, 15)), grid()),
    "bent right leg": (Model(Side.RIGHT, bent=(-30, 0, 15)), grid()),
    "coxa valga": (Model(angle_deg=134.0), grid()),
    "coxa vara": (Model(angle_deg=112.0), grid()),
    "short stump": (Model(), grid(below_mm=95.0)),
}


def degrees(a: object, b: object) -> float:
    return float(np.degrees(np.arccos(np.clip(np.dot(np.array(a), np.array(b)), -1, 1))))


def found(model: Model, geometry: Geometry) -> Anatomy:
    return find_anatomy(model.on(geometry)[0], geometry)


@pytest.mark.parametrize("name", CASES)
def test_every_part_is_found_where_it_is(name):
    model, geometry = CASES[name]
    anatomy = found(model, geometry)
    assert anatomy.head is not None
    assert anatomy.shaft is not None
    assert anatomy.neck is not None
    assert np.linalg.norm(anatomy.head.centre) < 0.4
    assert anatomy.head.radius == pytest.approx(HEAD_MM, abs=0.3)
    assert degrees(anatomy.shaft.down, model.down) < 1.5
    assert anatomy.neck.problems == ()
    assert degrees(anatomy.neck.axis, model.neck_axis) < 1.0
    assert anatomy.neck.neck_shaft_angle_deg == pytest.approx(model.angle_deg, abs=1.5)
    assert anatomy.neck.narrowest_area_mm2 == pytest.approx(np.pi * NECK_MM**2, rel=0.06)
    assert anatomy.trochanter is not None
    along = (anatomy.trochanter.tip - model.lesser_tip) @ model.down
    assert abs(along) < 2.0
    assert np.linalg.norm(anatomy.trochanter.tip - model.lesser_tip) < 5.0


def test_the_record_of_the_landmarks_says_the_same():
    landmarks = found(*CASES["axial"]).landmarks
    assert landmarks is not None
    assert landmarks.head_radius_mm == pytest.approx(HEAD_MM, abs=0.3)
    assert landmarks.shaft_direction == pytest.approx((0, 0, -1), abs=0.02)
    assert landmarks.shaft_length_mm == pytest.approx(71, abs=4)
    assert landmarks.lesser_trochanter_mm is not None
    assert landmarks.lesser_trochanter_mm[2] == pytest.approx(-LESSER_MM, abs=2)


def test_a_bone_without_a_bump_has_no_trochanter():
    anatomy = found(Model(lesser=False), grid())
    assert anatomy.trochanter is None
    assert "no prominence" in anatomy.no_trochanter


def test_a_scan_that_ends_at_the_trochanter_does_not_show_it():
    anatomy = found(Model(), grid(below_mm=60.0))
    assert anatomy.trochanter is None
    assert anatomy.no_trochanter in (
        "the scan ends at the lesser trochanter",
        "the scan ends above the lesser trochanter",
        "no prominence of 6 mm on the back of the shaft",
    )


def test_a_head_cut_by_the_scan_is_no_head():
    whole = grid()
    affine = whole.affine.copy()
    low = Geometry((round((152 - 4) / 2), *whole.shape[1:]), affine)  # ends 4 mm below the head's centre
    anatomy = found(Model(), low)
    assert anatomy.head is None
    assert anatomy.neck is None
    assert anatomy.landmarks is None
    assert "no total region, no neck region" in anatomy.doubts[0]


def test_an_impossible_neck_says_why():
    anatomy = found(Model(angle_deg=98.0), grid())
    assert anatomy.neck is not None
    assert anatomy.neck.problems == ("the neck-shaft angle of 98 degrees is not plausible",)
    assert "no neck region: the neck-shaft angle" in anatomy.doubts[-1]


def test_a_short_shaft_casts_doubt_on_its_direction():
    assert "only 2" in found(*CASES["short stump"]).doubts[0]
    assert found(*CASES["axial"]).doubts == ()


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 2), (40, 8, 8), (1, 30, 30)])
def test_what_is_no_femur_has_no_head_and_gives_no_traceback(shape):
    geometry = Geometry.axial((44, 34, 34), (2.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    mask = np.zeros(geometry.shape, bool)
    mask[2 : 2 + shape[0], 2 : 2 + shape[1], 2 : 2 + shape[2]] = True
    anatomy = find_anatomy(Femur(Side.LEFT, mask, complete=False), geometry)
    assert anatomy.head is None
    assert anatomy.shaft is None


def test_a_ball_alone_has_no_shaft():
    geometry = Geometry.axial((60, 60, 60), (1.0, 1.0, 1.0), (-30.0, -30.0, -30.0))
    index = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), -1)
    ball = np.linalg.norm(geometry.to_patient(index), axis=-1) < HEAD_MM
    anatomy = find_anatomy(Femur(Side.LEFT, ball, complete=False), geometry)
    assert anatomy.shaft is None
    assert anatomy.neck is None


def test_the_sphere_through_points_of_a_sphere_is_that_sphere():
    rays = np.random.default_rng(1).normal(size=(50, 3))
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    centre, radius = fit_sphere(np.array([100.0, -20.0, 3000.0]) + 23.5 * rays)
    assert centre == pytest.approx([100, -20, 3000], abs=1e-6)
    assert radius == pytest.approx(23.5, abs=1e-6)


def test_the_angle_of_the_model_is_the_usual_one():
    assert degrees(Model().neck_axis, Model().down) == pytest.approx(ANGLE_DEG, abs=1e-6)


def test_a_head_smaller_than_an_adults_is_told():
    whole = grid()
    femur = Model().on(whole)[0]
    affine = whole.affine.copy()
    affine[:3] *= 16.5 / HEAD_MM
    anatomy = find_anatomy(femur, Geometry(whole.shape, affine))
    assert anatomy.doubts[0].startswith("the head is smaller than an adult's (33 mm across)")
    assert not any("smaller" in doubt for doubt in found(Model(), whole).doubts)
