"""The gates of a measured phantom, the lines behind them, the choice between several: decisions on plain records."""

from dataclasses import replace

import numpy as np
import pytest
from qct_factory import MODELS, phantom_settings

from segmenter.density.calibrate import choose
from segmenter.density.calibration import Calibration, CalibrationMode, Material
from segmenter.density.calibration_line import fit_line, line_in_reference, line_in_tissue
from segmenter.density.find_phantom import Found
from segmenter.density.placement import Placement
from segmenter.density.quality_gates import calibration_of
from segmenter.density.rods import RodSlices
from segmenter.density.row_search import fits
from segmenter.density.template import Template, plausible

STRAIGHT = Placement(np.zeros(2), np.zeros(2), 0.0, 1.0, False, 0.0, 100.0)
SLICES = 40


def found(model: str = "slab", hu=None, sd: float | list[float] = 10.0, good=SLICES, **changes) -> Found:
    """Return a phantom whose rods have these HU; a placement may be changed."""
    settings = phantom_settings(MODELS[model])
    place = replace(STRAIGHT, **changes)
    template = Template.of(settings)
    form = place.form(template)
    given = 1.3 * form.densities - 2 if hu is None else np.array(hu, float)
    spread = np.broadcast_to(sd, len(given))
    counts = np.broadcast_to(good, len(given))
    rods = tuple(
        RodSlices(np.full(SLICES, value), np.full(SLICES, noise), np.arange(SLICES) < count)
        for value, noise, count in zip(given, spread, counts, strict=True)
    )
    return Found(template, place, form, rods)


def test_a_good_phantom_passes_without_a_word():
    calibration = calibration_of(found())
    assert calibration.mode is CalibrationMode.PHANTOM
    assert calibration.slope_hu_per_mg_cm3 == pytest.approx(1.3)
    assert calibration.intercept_hu == pytest.approx(-2)
    assert calibration.r2 == pytest.approx(1)
    assert calibration.warnings == ()
    assert [rod.slices for rod in calibration.rods] == [SLICES] * 5


def test_the_rods_of_a_turned_phantom_are_given_by_density():
    calibration = calibration_of(found(flipped=True))
    assert calibration.slope_hu_per_mg_cm3 == pytest.approx(1.3)
    assert [rod.density_mg_cm3 for rod in calibration.rods] == [0, 50, 100, 200, 400]


WARNED = {
    "off the line": ({"hu": [0, 65, 130, 272, 520]}, "a rod lies 7 mg/cm3 off the line"),
    "missing": ({"good": [40, 3, 40, 40, 40]}, "the rod of 50 mg/cm3 is disturbed and was left out"),
    "half disturbed": ({"good": [40, 19, 40, 40, 40]}, "the rod of 50 mg/cm3 is disturbed and was left out"),
    "noise": ({"sd": 70.0}, "noise in the rods is 70 HU, above 60"),
    "uneven": ({"sd": [10, 10, 36, 10, 10]}, "much more uneven than the others"),
    "spoilt": ({"sd": [10, 10, 10, 90, 10]}, "the rod of 200 mg/cm3 is disturbed"),
    "air": ({"hu": [-2, 63, -990, 258, 518]}, "the rod of 100 mg/cm3 is disturbed"),
    "tilt": ({"drift": np.array([0.1, 0.0])}, "it lies 5.7 degrees off the table's axis"),
    "spacing": ({"scale": 1.04}, "its rods lie +4 % farther apart"),
}


@pytest.mark.parametrize(("changes", "sentence"), WARNED.values(), ids=WARNED)
def test_between_good_and_refused_there_is_a_warning(changes: dict, sentence: str):
    calibration = calibration_of(found(**changes))
    assert calibration.usable
    assert any(sentence in warning for warning in calibration.warnings), calibration.warnings
    assert all(warning.startswith("calibration phantom synthetic slab T1: ") for warning in calibration.warnings)


REFUSED = {
    "r2": ({"hu": [0, 200, 60, 400, 420]}, "gives an implausible line"),
    "slope": ({"hu": [0, 20, 40, 80, 160]}, "gives an implausible line (slope 0.400"),
    "negative": ({"hu": [520, 260, 130, 65, 0]}, "gives an implausible line"),
    "intercept": ({"hu": [100, 165, 230, 360, 620]}, "intercept 100 HU"),
    "two missing": ({"good": [40, 3, 3, 40, 40]}, "shows 3 of 5 rods undisturbed"),
    "one of three missing": ({"model": "qrm-bdc", "good": [40, 3, 40]}, "shows 2 of 3 rods undisturbed"),
    "end missing": ({"good": [40, 40, 40, 40, 3]}, "does not show the rod at an end of its row"),
    "end in air": ({"hu": [-990, 63, 128, 258, 518]}, "does not show the rod at an end of its row"),
    "noise": ({"sd": 160.0}, "has a noise of 160 HU in its rods, 150 are allowed"),
    "tilt": ({"drift": np.array([0.0, 0.2])}, "is tilted by 11.3 degrees against the table's axis"),
    "another phantom": ({"hu": [0, 55, 110, 300, 520]}, "has a rod 27 mg/cm3 off the line"),
}


@pytest.mark.parametrize(("changes", "sentence"), REFUSED.values(), ids=REFUSED)
def test_beyond_a_gate_there_is_no_line_but_a_reason(changes: dict, sentence: str):
    calibration = calibration_of(found(**changes))
    assert calibration.mode is CalibrationMode.NONE
    assert (calibration.material, calibration.slope_hu_per_mg_cm3, calibration.rods) == (None, None, ())
    (reason,) = calibration.warnings
    assert sentence in reason


def test_a_sharp_kernel_is_warned_of():
    (warning,) = calibration_of(replace(found(), overshoot=0.2)).warnings
    assert "edges overshoot by 20 %: the kernel is sharp" in warning


def test_a_rod_that_changes_along_the_table_is_warned_of():
    plain = found()
    leaning = replace(plain.rods[2], mean=plain.rods[2].mean + np.linspace(-8, 8, SLICES))
    rods = (*plain.rods[:2], leaning, *plain.rods[3:])
    (warning,) = calibration_of(replace(plain, rods=rods)).warnings
    assert "a rod changes by 16 HU along the table" in warning


def test_a_low_r2_that_is_not_refused_is_warned_of():
    calibration = calibration_of(found("image-analysis", hu=[10, 160, 246]))
    assert calibration.usable
    assert 0.90 < calibration.r2 < 0.98
    assert any("r2 of the line is" in warning for warning in calibration.warnings)


def test_a_phantom_without_a_certificates_date_says_so():
    plain = found()
    undated = replace(
        plain, template=replace(plain.template, settings=phantom_settings(MODELS["slab"], certificate_date=None))
    )
    assert calibration_of(undated).warnings[-1].endswith("the settings give no date of its certificate")
    assert calibration_of(undated).certificate_date == ""


def test_mindways_rods_are_fitted_less_their_water():
    sigma, beta = 1.5, -1005.0
    rods = MODELS["mindways"].rods
    hu = [rod.water_mg_cm3 + sigma * rod.density_mg_cm3 + beta for rod in rods]
    calibration = calibration_of(found("mindways", hu=hu))
    assert calibration.slope_hu_per_mg_cm3 == pytest.approx(1.5 - 0.2174)
    assert calibration.intercept_hu == pytest.approx(-1005.0 + 999.6)
    assert calibration.material is Material.K2HPO4
    assert calibration.r2 == pytest.approx(1)
    assert [rod.residual_hu for rod in calibration.rods] == pytest.approx([0] * 5)


def test_the_two_ways_of_a_line_are_inverse():
    assert line_in_tissue(*line_in_reference(1.3, -4.0)) == pytest.approx((1.3, -4.0))
    assert line_in_tissue(1.5174, -999.6) == pytest.approx((1.3, 0.0))


def test_a_line_through_points():
    line = fit_line([0, 1, 2], [1.0, 3.0, 5.0])
    assert (line.slope, line.intercept, line.r2) == pytest.approx((2, 1, 1))
    assert fit_line([0, 1, 2], [4.0, 4.0, 4.0]).r2 == 0
    assert fit_line([0, 1, 2], [0.0, 2.0, 1.0]).r2 == pytest.approx(0.25)


@pytest.mark.parametrize("name", MODELS)
def test_many_places_at_once_are_fitted_as_one_is(name: str):
    form = Template.of(phantom_settings(MODELS[name]))
    rng = np.random.default_rng(3)
    true = np.array([rod.hu(1.3, 2.0) for rod in MODELS[name].rods])
    hu = true[:, None] + rng.normal(0, 60, (form.count, 200))
    use = np.ones(hu.shape, bool)
    got, whole = fits(hu, use, form)
    for n in range(200):
        line = form.fit(hu[:, n])
        if plausible(line.slope, line.intercept, line.r2):
            assert whole[n]
            assert got[n] == pytest.approx(line.r2)
        else:
            assert got[n] == 0 or form.count >= 5  # a rod of five may have been left out
    assert (got > 0).any()
    assert (got == 0).any()
    assert (whole | (form.count >= 5)).all()


def calibration(name: str, r2: float) -> Calibration:
    return Calibration(CalibrationMode.PHANTOM, Material.HA, 1.3, 0.0, r2, name)


@pytest.mark.parametrize(
    ("good", "chosen"),
    [
        ([(5, calibration("A", 0.999))], "A"),
        ([(3, calibration("A", 0.9999)), (5, calibration("B", 0.99))], "B"),
        ([(5, calibration("A", 0.95)), (5, calibration("B", 0.999))], "B"),
        ([(5, calibration("A", 0.999)), (5, calibration("B", 0.99))], None),
        ([(5, calibration("A", 0.95)), (5, calibration("B", 0.96))], None),
    ],
)
def test_of_several_that_fit_the_better_is_taken_or_none(good: list, chosen: str | None):
    result = choose(good)
    assert result.phantom == (chosen or "")
    assert result.usable == (chosen is not None)
    if not chosen:
        assert "A and B equally well" in result.warnings[0]
