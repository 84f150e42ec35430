"""Scans that are not what they seem: each is told, impossible values are refused, and spoilt densities are withheld."""

import numpy as np
import pytest
from ct_factory import CtSpec, write_ct
from pydicom import dcmread

from segmenter.errors import Reason, SegmenterError
from segmenter.pipeline import SegmentationMethod, SegmentRequest, segment
from segmenter.read.doubts import find_doubts
from segmenter.read.series import read_series
from segmenter.volume.femur import Search

SPEC = CtSpec(shape=(24, 64, 64), spacing=(2.5, 4.0, 4.0))
NOTHING = SegmentationMethod("none", "1", "ab" * 32, lambda volume, geometry, on_stage: Search(()))


def body(air=True):
    """HU `(z, y, x)` of a trunk of fat and muscle with two bones, with noise; air: around it."""
    rng = np.random.default_rng(1)
    _, y, x = np.indices(SPEC.shape, float)
    hu = np.full(SPEC.shape, -1000.0 if air else -90.0)
    hu[((x - 31.5) / 26) ** 2 + ((y - 31.5) / 20) ** 2 < 1] = -90
    hu[((x - 31.5) / 22) ** 2 + ((y - 31.5) / 16) ** 2 < 1] = 55
    for middle in (18, 45):
        distance = np.hypot(x - middle, y - 31.5)
        hu[distance < 5] = 1100
        hu[distance < 3.5] = 350
    return (hu + rng.normal(0, 20, hu.shape)).clip(-1024, 3071).round().astype(np.int16)


def series_of(folder, spec=SPEC, **tags):
    def edit(index, ds):
        for keyword, value in tags.items():
            setattr(ds, keyword, value)

    return read_series(write_ct(folder, spec, edit))


@pytest.mark.parametrize("air", [True, False])
def test_a_usual_scan_raises_no_doubt(tmp_path, air):
    found = find_doubts(series_of(tmp_path, ReconstructionDiameter="256", SliceThickness="5"), body(air))
    assert (found.warnings, found.no_density) == ((), "")


IMPOSSIBLE = {
    "intercept 0 on unsigned values": lambda hu: hu + 1024,
    "the same, one hip without air": lambda hu: body(air=False) + 1024,
    "twice the intercept": lambda hu: (hu - 1024).clip(-1024, None),
    "a slope of 10": lambda hu: ((hu.astype(int) + 1024) * 10 - 1024).clip(-1024, 32767),
    "counts": lambda hu: hu.clip(0, None) + 20000,
}


@pytest.mark.parametrize("change", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_impossible_values_are_refused_and_never_a_scan_without_a_femur(tmp_path, change):
    series = series_of(tmp_path)
    with pytest.raises(SegmenterError, match="cannot be Hounsfield units") as refusal:
        find_doubts(series, change(body()))
    assert refusal.value.reason is Reason.NOT_HU


def test_a_lost_intercept_is_refused_by_the_pipeline(tmp_path):
    stored = (body() + 1024).astype("<u2")

    def edit(index, ds):
        ds.RescaleIntercept, ds.PixelData = "0", stored[index].tobytes()

    with pytest.raises(SegmenterError, match="Rescale Intercept or Slope is wrong"):
        segment(SegmentRequest(write_ct(tmp_path / "in", SPEC, edit), tmp_path / "out"), method=NOTHING)


CUT = {
    "a window": (lambda hu: hu.clip(-160, 240), ["above 240 HU", "below -160 HU"]),
    "bone": (lambda hu: hu.clip(None, 1000), ["above 1000 HU"]),
    "air and fat": (lambda hu: hu.clip(-50, None), ["below -50 HU"]),
}


@pytest.mark.parametrize(("change", "words"), CUT.values(), ids=CUT)
def test_values_that_are_cut_off_are_told_and_give_no_density(tmp_path, change, words):
    found = find_doubts(series_of(tmp_path), change(body()))
    assert [word in warning for word, warning in zip(words, found.warnings, strict=True)] == [True] * len(words)
    assert found.no_density.startswith("no density is given: the values are cut off")


def test_values_cut_off_at_the_end_of_what_scanners_store_are_usual(tmp_path):
    hu = body()
    hu[8:12, 28:36, 28:36] = 3071  # metal
    assert find_doubts(series_of(tmp_path), hu).warnings == ()


def test_metal_of_one_value_beyond_bone_is_not_a_window(tmp_path):
    hu = body()
    hu[:, 28:36, 28:36] = 2000
    assert find_doubts(series_of(tmp_path), hu).warnings == ()


@pytest.mark.parametrize(("step", "thickness"), [(10.0, "10"), (15.0, "15"), (2.5, "10"), (7.5, "")])
def test_thick_slices_are_told_and_give_no_density(tmp_path, step, thickness):
    spec = CtSpec((24, 64, 64), (step, 4.0, 4.0))
    found = find_doubts(series_of(tmp_path, spec, **({"SliceThickness": thickness} if thickness else {})), body())
    (warning,) = found.warnings
    assert f"{max(step, float(thickness or 0)):.3g} mm thick" in warning
    assert warning in found.no_density


FIELDS = {
    "wrong spacing": ("350", True, True),
    "half the spacing": ("2048", True, False),  # 512 x 4 mm: a part of the matrix, or a wrong spacing
    "larger than the field": ("200", True, True),
    "the field": ("256", False, False),
    "rounded": ("258", False, False),
    "invalid": ("0", False, False),
}


@pytest.mark.parametrize(("diameter", "told", "withheld"), FIELDS.values(), ids=FIELDS)
def test_a_spacing_that_contradicts_the_field_is_told(tmp_path, diameter, told, withheld):
    found = find_doubts(series_of(tmp_path, ReconstructionDiameter=diameter), body())
    assert bool(found.warnings) == told
    assert bool(found.no_density) == withheld


def test_images_cut_to_an_odd_size_are_no_contradiction(tmp_path):
    spec = CtSpec((24, 50, 60), (2.5, 1.0, 1.0))
    assert find_doubts(series_of(tmp_path, spec, ReconstructionDiameter="512"), body()).warnings == ()


def test_the_pipeline_tells_and_withholds(tmp_path):
    stored = (body().clip(None, 1000) + 1024).astype("<u2")
    scanner = {"Manufacturer": "M", "ManufacturerModelName": "N", "StationName": "S", "KVP": "120"}
    spec = CtSpec(SPEC.shape, SPEC.spacing, tags=scanner)
    files = write_ct(tmp_path / "in", spec, lambda index, ds: setattr(ds, "PixelData", stored[index].tobytes()))
    settings = tmp_path / "certificate.toml"
    settings.write_text(
        'mode = "asynchronous"\n[[asynchronous]]\nmanufacturer = "M"\nmodel = "N"\nstation_name = "S"\nkvp = 120\n'
        'slope_hu_per_mg_cm3 = 1.4\nintercept_hu = 4.0\nequivalent_material = "HA"\ncertificate_date = 2024-01-01\n'
        "valid_until = 2099-01-01\n"
    )
    report = segment(SegmentRequest(files, tmp_path / "out", calibration=settings), method=NOTHING)
    assert report.calibration.mode == "none"
    assert "no density is given: the values are cut off above 1000 HU" in report.calibration.warnings[0]
    assert any("cut off above 1000 HU" in warning for warning in report.warnings)
    assert dcmread(files[0]).RescaleIntercept == -1024
