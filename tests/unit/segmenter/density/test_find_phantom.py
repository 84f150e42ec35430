"""A calibration phantom is found and read however scan, patient and phantom lie, and nothing else is taken for one."""

from dataclasses import replace

import numpy as np
import pytest
from qct_factory import AXIAL, MODELS, Scene, phantom_settings, settings_for, sheared, turned
from scipy.spatial.transform import Rotation

from segmenter.density.calibrate import by_phantom
from segmenter.density.calibration import Calibration, CalibrationMode, Material
from segmenter.density.find_phantom import Found, find_phantom
from segmenter.density.template import Template
from segmenter.density.thick_slabs import make_blocks
from segmenter.volume.geometry import Geometry

# Directions of slices, rows, columns as a rotation of (z, y, x); every one is a right-handed stack.
FEET_FIRST = Rotation.from_euler("y", 180, degrees=True).as_matrix()
PRONE = Rotation.from_euler("z", 180, degrees=True).as_matrix()
SAGITTAL = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]], float)
OBLIQUE = Rotation.from_euler("xyz", [25, 10, 15], degrees=True).as_matrix()
GRIDS = {
    "axial": AXIAL,
    "feet first": turned(AXIAL, FEET_FIRST),
    "rows upwards": turned(AXIAL, PRONE),
    "coronal": turned(AXIAL, np.eye(3)[[0, 2, 1]] * [1, -1, 1], (80, 48, 130), (2.5, 2.0, 1.7)),
    "sagittal": turned(AXIAL, SAGITTAL, (90, 48, 130), (2.5, 2.0, 1.7)),
    "oblique": turned(AXIAL, OBLIQUE, (54, 120, 130), (2.5, 1.8, 1.8)),
    "gantry tilt": sheared(AXIAL, 20),
}


def read(scene: Scene, geometry: Geometry = AXIAL, *names: str) -> Calibration:
    settings = settings_for(*names) if names else None
    phantoms = settings.phantoms if settings else (phantom_settings(scene.model),)
    return by_phantom(scene.draw(geometry), geometry, [], phantoms)


def assert_line(calibration: Calibration, scene: Scene, percent: float = 0.6, hu: float = 2.0) -> None:
    assert calibration.mode is CalibrationMode.PHANTOM, calibration.warnings
    assert calibration.slope_hu_per_mg_cm3 == pytest.approx(scene.slope, rel=percent / 100)
    assert calibration.intercept_hu == pytest.approx(scene.intercept, abs=hu)


@pytest.mark.parametrize("name", MODELS)
def test_every_phantom_gives_the_line_that_drew_it(name: str):
    scene = Scene(MODELS[name])
    calibration = read(scene)
    assert_line(calibration, scene)
    assert calibration.material is scene.model.material
    assert (calibration.phantom, calibration.serial) == (scene.model.name, "T1")
    assert calibration.certificate_date == "2026-01-01"
    assert calibration.r2 > 0.9995
    assert calibration.warnings == ()
    densities = sorted(rod.density_mg_cm3 for rod in scene.model.rods)
    assert [rod.density_mg_cm3 for rod in calibration.rods] == densities
    for rod, hu in zip(calibration.rods, sorted(scene.hu()) if name != "mindways" else [], strict=False):
        assert rod.hu == pytest.approx(hu, abs=2)
        assert rod.sd_hu == pytest.approx(12, rel=0.1)
        assert abs(rod.residual_hu) < 2
        assert rod.slices >= 25


@pytest.mark.parametrize(
    ("name", "prone"),
    [*((name, False) for name in GRIDS), ("axial", True), ("feet first", True), ("gantry tilt", True)],
)
def test_it_is_found_however_the_slices_lie(name: str, prone: bool):
    scene = Scene(MODELS["mindways"], prone=prone)
    assert_line(read(scene, GRIDS[name]), scene, percent=1.0)


@pytest.mark.parametrize(
    "scene",
    [
        Scene(flipped=True),
        Scene(MODELS["mindways"], flipped=True),
        Scene(turn_deg=9),
        Scene(turn_deg=-6, flipped=True),
        Scene(MODELS["qrm-bdc"], tilt=(0.03, 0.02)),
        Scene(MODELS["image-analysis"], scale=1.02),
        Scene(noise_hu=60, slope=1.05),
        Scene(noise_hu=0, slope=1.9, intercept=10),
    ],
    ids=["flipped", "flipped mindways", "turned", "turned and flipped", "tilted", "spread", "noisy", "low voltage"],
)
def test_it_is_found_however_it_lies(scene: Scene):
    assert_line(read(scene), scene, percent=1.5 if scene.noise_hu > 50 else 0.6, hu=5 if scene.noise_hu > 50 else 2)


def test_the_tilt_is_told():
    calibration = read(Scene(tilt=(0.08, 0.06)))
    assert calibration.tilt_deg == pytest.approx(np.degrees(np.arctan(0.1)), abs=0.3)
    assert any("5.7 degrees off the table's axis" in warning for warning in calibration.warnings)
    steep = read(Scene(tilt=(0.2, 0.0)))
    assert steep.mode is CalibrationMode.NONE
    assert "degrees against" in steep.warnings[0]


def test_a_hidden_rod_of_five_is_left_out_or_the_phantom_refused():
    scene = Scene(metal=(3, -30.0, 40.0))
    calibration = read(scene)
    assert_line(calibration, scene)
    assert 200 not in [rod.density_mg_cm3 for rod in calibration.rods]
    assert any("the rod of 200 mg/cm3 is disturbed and was left out" in warning for warning in calibration.warnings)


def test_evenly_stepped_rods_are_not_taken_for_a_row_that_is_moved_by_one():
    # In the middle of a slab that is as water as its thinnest rod, four of five rods fit their neighbours' densities.
    scene = Scene(MODELS["b-mas"], intercept=0.5, slope=1.1, noise_hu=5)
    assert_line(read(scene), scene)
    cut = replace(AXIAL, shape=(32, 130, 99))  # the densest rod lies outside the field
    calibration = read(scene, cut)
    assert calibration.mode is CalibrationMode.NONE
    assert "does not show the rod at an end" in calibration.warnings[0]


def test_a_streak_through_some_slices_changes_nothing():
    scene = Scene(metal=(4, -20.0, -5.0))
    calibration = read(scene)
    assert_line(calibration, scene)
    assert calibration.warnings == ()
    densest = calibration.rods[-1]
    assert densest.slices < min(rod.slices for rod in calibration.rods[:-1])


def test_a_field_that_falls_off_is_warned_of():
    shaded = read(Scene(MODELS["b-mas"], shade=40.0))
    assert any("off the line" in warning or "r2" in warning for warning in shaded.warnings)


@pytest.mark.parametrize("model", ["image-analysis", "qrm-bdc", "mindways", "b-mas"])
def test_another_phantom_is_not_taken_for_the_one_of_the_settings(model: str):
    calibration = read(Scene(), AXIAL, model)
    assert calibration.mode is CalibrationMode.NONE
    assert MODELS[model].name in calibration.warnings[0]


def test_of_many_phantoms_the_one_that_is_there_is_taken():
    scene = Scene(MODELS["mindways"])
    calibration = read(scene, AXIAL, *MODELS)
    assert_line(calibration, scene)
    assert calibration.material is Material.K2HPO4


def test_two_certificates_that_fit_alike_are_not_chosen_between():
    model = MODELS["qrm-bdc"]
    twins = tuple(phantom_settings(model, serial=serial) for serial in ("A", "B"))
    calibration = by_phantom(Scene(model).draw(AXIAL), AXIAL, [], twins)
    assert calibration.mode is CalibrationMode.NONE
    assert "QRM-BDC A and QRM-BDC B equally well" in calibration.warnings[0]


def with_second(scene: Scene, factor: float) -> np.ndarray:
    """Return the scan with a copy of the phantom in front of the body, whose HU are multiplied."""
    volume = scene.draw(AXIAL).astype(float)
    volume[:, 1:18] = factor * volume[:, 98:115]
    return np.rint(volume).astype(np.int16)


@pytest.mark.parametrize("name", ["slab", "qrm-bdc", "mindways"])
def test_two_phantoms_that_disagree_give_no_line(name: str):
    scene = Scene(MODELS[name])
    for factor in (1.08, 0.92):
        calibration = by_phantom(with_second(scene, factor), AXIAL, [], (phantom_settings(scene.model),))
        assert calibration.mode is CalibrationMode.NONE
        assert "two calibration phantoms lie in the scan and disagree" in calibration.warnings[0]
    alike = by_phantom(with_second(scene, 1.0), AXIAL, [], (phantom_settings(scene.model),))
    assert_line(alike, scene)
    assert alike.warnings == ()


def test_phantoms_of_two_models_that_disagree_give_no_line():
    both = Scene(MODELS["qrm-bdc"]).draw(AXIAL)
    both[:, 1:18] = Scene(MODELS["slab"], slope=1.17).draw(AXIAL)[:, 98:115]  # 10 % less
    settings = tuple(phantom_settings(MODELS[name]) for name in ("qrm-bdc", "slab"))
    assert "disagree" in by_phantom(both, AXIAL, [], settings).warnings[0]
    both[:, 1:18] = Scene(MODELS["slab"]).draw(AXIAL)[:, 98:115]
    assert_line(by_phantom(both, AXIAL, [], settings), Scene())


def with_bubble(scene: Scene, number: int) -> np.ndarray:
    """Return the scan with an air bubble along the upper side of a rod."""
    volume = scene.draw(AXIAL)
    point = scene.placement().axes(Template.of(phantom_settings(scene.model)))[number]
    place = AXIAL.to_patient(np.stack(np.meshgrid(*map(np.arange, AXIAL.shape), indexing="ij"), axis=-1))
    volume[np.hypot(place[..., 0] - point[0], place[..., 1] - point[1] + 5) < 4] = -900
    return volume


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_rod_with_an_air_bubble_is_left_out(number: int):
    scene = Scene()
    calibration = by_phantom(with_bubble(scene, number), AXIAL, [], (phantom_settings(scene.model),))
    assert_line(calibration, scene, percent=1.0, hu=4.0)
    density = scene.model.rods[number].density_mg_cm3
    assert any(f"the rod of {density:g} mg/cm3 is disturbed and was left out" in told for told in calibration.warnings)


def test_an_air_bubble_in_one_of_three_rods_is_told_as_a_possible_reason():
    scene = Scene(MODELS["qrm-bdc"])
    calibration = by_phantom(with_bubble(scene, 1), AXIAL, [], (phantom_settings(scene.model),))
    assert calibration.mode is CalibrationMode.NONE
    assert "an air bubble" in calibration.warnings[0]


def test_a_row_whose_ends_cannot_be_told_is_refused():
    model = replace(MODELS["image-analysis"], rods=tuple(MODELS["slab"].rods[n] for n in (2, 3, 2)))
    calibration = read(Scene(model))
    assert calibration.mode is CalibrationMode.NONE
    assert "the rods cannot be told apart" in calibration.warnings[0]


def test_a_body_on_a_table_holds_no_phantom():
    calibration = read(Scene(with_rods=False), AXIAL, *MODELS)
    assert calibration.mode is CalibrationMode.NONE
    assert calibration.warnings[0].startswith("no calibration phantom was found")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"rod_diameter_mm": 14.0}, "diameter is about 18 mm"),
        ({"rod_spacing_mm": 50.0}, "no row of rods"),
        ({"rod_spacing_mm": 31.0}, "% farther apart"),
    ],
    ids=["diameter", "far other spacing", "other spacing"],
)
def test_settings_that_do_not_fit_are_told(changes: dict, reason: str):
    scene = Scene()
    volume = scene.draw(AXIAL)
    found = find_phantom(volume, AXIAL, make_blocks(volume, AXIAL, []), phantom_settings(scene.model, **changes))
    assert isinstance(found, str)
    assert reason in found


def test_no_phantom_is_looked_for_beside_the_femurs():
    scene = Scene()
    volume = scene.draw(AXIAL)
    mask = np.zeros(AXIAL.shape, bool)
    mask[:, 60:115, 20] = True  # a femur that reaches past the phantom
    blocks = make_blocks(volume, AXIAL, [mask])
    assert isinstance(find_phantom(volume, AXIAL, blocks, phantom_settings(scene.model)), str)
    free = make_blocks(volume, AXIAL, [])
    assert isinstance(find_phantom(volume, AXIAL, free, phantom_settings(scene.model)), Found)
