"""Three synthetic QCT patients of known density, as DICOM, calibrated by the phantom under them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from bench.density.report import agreement, cases_table, draw, table
from bench.density.rows import Row
from bench.density.truth import COUNT, group, measure, options
from click.testing import CliRunner

from segmenter.commands.phantom import phantom
from segmenter.density.calibration import Material
from segmenter.density.settings import read_density_settings
from segmenter.synth.series import SyntheticSeriesOptions
from segmenter.synth.series.options import Position

SMALL = SyntheticSeriesOptions(
    slices=24, size=200, field_of_view_mm=460, slice_step_mm=5.0, noise_hu=15.0, beam_hardening=False
)
CASES = (
    replace(SMALL, seed=31, calibration="mindways", drift_percent=4.0),
    replace(SMALL, seed=35, calibration="b-mas", drift_percent=-5.0, position=Position.FFS, noise_hu=25.0),
    replace(SMALL, seed=36),
)


def no_masks(_volume, _series):
    return {}


@pytest.mark.parametrize("wanted", CASES, ids=lambda wanted: wanted.calibration)
def test_the_density_of_the_true_mask_is_within_one_percent(wanted: SyntheticSeriesOptions, tmp_path: Path):
    rows = measure(0, wanted, tmp_path / "case", no_masks)
    assert [row.side for row in rows] == ["left", "right"]
    for row in rows:
        assert row.true_mask == pytest.approx(row.known, rel=0.01)
        assert row.slope_percent == pytest.approx(0, abs=1.0)
        assert row.intercept_hu == pytest.approx(0, abs=3.0)
        # A calibration that ignores the drift has about this error.
        assert 100 * (row.certificate / row.known - 1) == pytest.approx(wanted.drift_percent, abs=1.5)
    _assert_headers_and_truth(wanted, tmp_path / "case")


def _assert_headers_and_truth(wanted: SyntheticSeriesOptions, folder: Path) -> None:
    content = json.loads((folder / "truth" / "truth.json").read_text())["calibration"]
    first = pydicom.dcmread(folder / "dicom" / "0012.dcm")
    image = first.pixel_array + float(first.RescaleIntercept)
    for rod in content["rods"]:
        step = np.array(first.ImageOrientationPatient, float).reshape(2, 3) * float(first.PixelSpacing[0])
        away = np.array([rod["x_mm"], rod["y_mm"]]) - np.array(first.ImagePositionPatient, float)[:2]
        row, column = round(away[1] / step[1, 1]), round(away[0] / step[0, 0])
        patch = image[row - 1 : row + 2, column - 1 : column + 2]
        assert patch.mean() == pytest.approx(rod["hu"], abs=wanted.noise_hu)
    material = "dipotassium hydrogen phosphate" if wanted.calibration == "mindways" else "hydroxyapatite"
    assert content["equivalent_material"] == material


def test_the_command_draws_the_phantom_that_is_asked_for(tmp_path: Path):
    wanted = ["--calibration", "mindways", "--drift", "-3", "--slices", "2", "--size", "64"]
    done = CliRunner().invoke(phantom, ["--out", str(tmp_path), *wanted])
    assert done.exit_code == 0, done.output
    (settings,) = read_density_settings(tmp_path / "calibration.toml").phantoms
    assert (settings.name, settings.equivalent_material) == ("Mindways Model 3 CT", Material.K2HPO4)
    line = json.loads((tmp_path / "truth" / "truth.json").read_text())["calibration"]
    assert len(line["rods"]) == 5
    for rod, given in zip(line["rods"], settings.rods, strict=True):
        sigma, beta = line["slope_hu_per_mg_cm3"] + 0.2174, line["intercept_hu"] - 999.6
        assert rod["hu"] == pytest.approx(given.water_mg_cm3 + sigma * given.density_mg_cm3 + beta, abs=1e-3)
    refused = CliRunner().invoke(phantom, ["--out", str(tmp_path / "c"), "--cohort", "2", "--calibration", "b-mas"])
    assert refused.exit_code == 2
    assert "--calibration cannot be used with --cohort" in refused.output


def test_other_options_have_other_uids_and_the_old_ones_keep_theirs():
    plain = SyntheticSeriesOptions()
    assert plain.name == f"phantom-{plain}".replace("SyntheticSeriesOptions", "PhantomOptions")
    names = [
        replace(plain, **change).name
        for change in ({}, {"calibration": "b-mas"}, {"drift_percent": 1.0}, {"beam_hardening": False})
    ]
    assert len(set(names)) == 4


def test_the_cases_cover_every_group():
    drawn = [options(number) for number in range(COUNT)]
    assert drawn == [options(number) for number in range(COUNT)]
    plain = [o for n, o in enumerate(drawn) if group(n)[0] == "plain"]
    assert len(plain) >= 30
    assert {o.calibration for o in plain} == {"slab", "mindways", "image-analysis", "qrm-bdc", "qrm-bdc-6", "b-mas"}
    assert {o.position for o in plain} == set(Position)
    for values, low, high in (
        ([o.drift_percent for o in plain], -5, 5),
        ([o.noise_hu for o in plain], 5, 60),
        ([o.slice_step_mm for o in plain], 0.6, 3),
    ):
        assert low <= min(values) < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < max(values) <= high


def row(known: float, measured: float, case: int = 0) -> Row:
    return Row(
        case, "plain", "left", "slab", 1.0, 10.0, 2.0, "soft", "HFS", known, known + 0.5, measured, None, known, 0.1,
        -1.0, 0.999, 100, 0, None, (),
    )  # fmt: skip


def test_bias_and_limits_of_agreement(tmp_path: Path):
    result = agreement([(100.5, 100.0), (203.5, 200.0), (299.0, 300.0)])
    assert result.bias == pytest.approx(1.0)
    assert (result.low, result.high) == pytest.approx((1 - 1.96 * 5.25**0.5, 1 + 1.96 * 5.25**0.5))
    assert result.worst_percent == pytest.approx(1.75)
    assert result.within == 2
    rows = [row(100, 100.5), row(200, 203.5, 1), row(300, 299, 2)]
    assert "| plain | true mask, phantom's line | 3 | +1.00 | -3.49 to +5.49 |" in table(rows)
    assert cases_table(rows).count("\n") == 4
    assert (
        "| 1 | plain | slab | +1.0 | 10 | 2.00 | soft | HFS | +0.10 | -1.00 | +1.50 | +1.75 | - | - |"
        in cases_table(rows)
    )
    with_own = [Row(**{**r.__dict__, "own_mask": r.known + 1}) for r in rows]
    draw(with_own, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 10_000
