"""The unit of the values: HU, spelled out, or left open where the histogram must show it; and numbers that are none."""

import numpy as np
import pytest
from ct_factory import CtSpec, write_ct, write_enhanced
from pydicom.dataset import Dataset

from segmenter.errors import Reason, SegmenterError
from segmenter.read.hounsfield import read_volume
from segmenter.read.series import read_series

SPEC = CtSpec()


def body(index, ds):
    """Air, soft tissue with noise, and a little bone."""
    rng = np.random.default_rng(index)
    hu = rng.normal(-1000, 15, SPEC.shape[1:])
    hu[4:20, 4:24] = rng.normal(40, 30, (16, 20))
    hu[9:12, 9:12] = 900
    ds.PixelData = np.rint(hu + 1024).clip(0).astype("<u2").tobytes()


def unit(kind, pixels=body):
    def edit(index, ds):
        ds.RescaleType = kind
        pixels(index, ds)

    return edit


@pytest.mark.parametrize("kind", ["HU", "hu", "Hounsfield Unit", "HOUNSFIELD UNITS", "Hounsfield", "HU "])
def test_hu_may_be_spelled_out(tmp_path, kind):
    series = read_series(write_ct(tmp_path, SPEC, unit(kind)))
    assert series.warnings == ()
    assert read_volume(series).max() == 900


def test_an_unspecified_unit_is_hu_where_the_histogram_agrees_and_that_is_said(tmp_path):
    series = read_series(write_ct(tmp_path, SPEC, unit("US")))
    assert series.warnings == (
        "RescaleType is US (unspecified): the values were taken for HU because their histogram is that of a CT",
    )
    assert read_volume(series).max() == 900


OTHER_VALUES = {
    "perfusion": lambda rng: rng.uniform(0, 120, SPEC.shape[1:]) + 1024,
    "tomosynthesis": lambda rng: rng.normal(1800, 400, SPEC.shape[1:]),
    "everywhere": lambda rng: rng.uniform(0, 4000, SPEC.shape[1:]),
    "padding around a map": lambda rng: np.where(rng.uniform(size=SPEC.shape[1:]) < 0.5, 0, 1064.0),
}


@pytest.mark.parametrize("values", OTHER_VALUES.values(), ids=OTHER_VALUES)
def test_an_unspecified_unit_with_other_values_is_refused(tmp_path, values):
    def pixels(index, ds):
        ds.PixelData = values(np.random.default_rng(index)).astype("<u2").tobytes()

    series = read_series(write_ct(tmp_path, SPEC, unit("US", pixels)))
    with pytest.raises(SegmenterError, match="do not look like HU") as refusal:
        read_volume(series)
    assert refusal.value.reason is Reason.NOT_HU


@pytest.mark.parametrize(
    ("keyword", "good", "bad", "words"),
    [
        ("PixelSpacing", b"2.500000", b"2,500000", "invalid value 2,500000\\2.000000 in PixelSpacing (0028,0030)"),
        ("RescaleIntercept", b"-1024", b"-10,4", "invalid value -10,4 in RescaleIntercept (0028,1052)"),
        ("ImagePositionPatient", b"-62.750000", b"-62,750000", "in ImagePositionPatient (0020,0032)"),
    ],
)
def test_a_decimal_comma_is_named_with_its_tag_value_and_rule(tmp_path, keyword, good, bad, words):
    files = write_ct(tmp_path, SPEC)
    for path in files:
        assert good in path.read_bytes()
        path.write_bytes(path.read_bytes().replace(good, bad))
    with pytest.raises(SegmenterError) as refusal:
        read_series(files)
    assert words in str(refusal.value)
    assert "a number with a decimal point, not a comma" in str(refusal.value)
    assert "ValueError" not in str(refusal.value)


def test_a_text_where_a_number_belongs_is_not_quoted(tmp_path):
    files = write_ct(tmp_path, SPEC)
    for path in files:
        path.write_bytes(path.read_bytes().replace(b"2.500000", b"SECRET-1"))
    with pytest.raises(SegmenterError, match=r"an invalid value in PixelSpacing \(0028,0030\)") as refusal:
        read_series(files)
    assert "SECRET" not in str(refusal.value)


def test_contrast_of_any_slice_or_frame_counts(tmp_path):
    def volume(index, ds):
        if index == 7:
            ds.ContrastBolusVolume = "100"

    assert any(plane.contrast for plane in read_series(write_ct(tmp_path / "ct", SPEC, volume)).slices)

    def usage(index, frame):
        item = Dataset()
        item.ContrastBolusAgentAdministered = "YES" if index == 5 else "NO"
        frame.ContrastBolusUsageSequence = [item]

    slices = read_series(write_enhanced(tmp_path / "enhanced", SPEC, usage)).slices
    assert [plane.contrast for plane in slices].count(True) == 1
