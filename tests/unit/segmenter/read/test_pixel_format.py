"""The bits that count: overlays in spare bits, signs left out, padding beyond the bits used, and what is refused."""

import numpy as np
import pytest
from ct_factory import CtSpec, write_ct

from segmenter.errors import Reason, SegmenterError
from segmenter.read.hounsfield import read_volume
from segmenter.read.series import read_series
from segmenter.volume.resample import OUTSIDE_HU

SPEC = CtSpec(shape=(5, 24, 28), spacing=(10.0, 2.5, 2.0))


def first_row(tmp_path, cells, **tags):
    """Return the HU of the first pixels of a series of 12 bits whose cells are these; intercept -1024."""

    def edit(index, ds):
        ds.BitsStored, ds.HighBit = 12, 11
        pixels = np.full((ds.Rows, ds.Columns), 1024, np.uint16)
        pixels[0, : len(cells)] = np.array(cells) & 0xFFFF
        ds.PixelData = pixels.astype("<u2").tobytes()
        for keyword, value in tags.items():
            setattr(ds, keyword, value)

    return read_volume(read_series(write_ct(tmp_path, SPEC, edit)))[2, 0, : len(cells)].tolist()


def with_overlay(bit, group=0x6000):
    """Return what announces an overlay plane in a bit of the pixels (retired, PS3.3-2004 C.9.2)."""
    elements = {0x0010: ("US", 24), 0x0011: ("US", 28), 0x0040: ("CS", "G"), 0x0050: ("SS", [1, 1]),
                0x0100: ("US", 16), 0x0102: ("US", bit)}  # fmt: skip

    def add(ds):
        for element, (vr, value) in elements.items():
            ds.add_new((group, element), vr, value)

    return add


@pytest.mark.parametrize(("bit", "group"), [(12, 0x6000), (15, 0x601E)])
def test_an_overlay_in_the_spare_bits_is_no_density(tmp_path, bit, group):
    def edit(index, ds):
        ds.BitsStored, ds.HighBit = 12, 11
        with_overlay(bit, group)(ds)
        pixels = np.full((ds.Rows, ds.Columns), 1100, "<u2")
        pixels[3:9, 4:20] |= 1 << bit
        ds.PixelData = pixels.tobytes()

    assert set(np.unique(read_volume(read_series(write_ct(tmp_path, SPEC, edit))))) == {76}


def test_bits_that_nothing_accounts_for_are_refused(tmp_path):
    with pytest.raises(SegmenterError, match=r"2 pixels of image 1\.2\.\S+ use more than the 12 bits") as refusal:
        first_row(tmp_path, [1024, 4096, 5000])
    assert refusal.value.reason is Reason.PIXEL_FORMAT


def test_an_overlay_elsewhere_does_not_account_for_them(tmp_path):
    def edit(index, ds):
        ds.BitsStored, ds.HighBit = 12, 11
        with_overlay(0)(ds)  # a plane of its own, in Overlay Data
        ds.PixelData = np.full((ds.Rows, ds.Columns), 5000, "<u2").tobytes()

    with pytest.raises(SegmenterError) as refusal:
        read_volume(read_series(write_ct(tmp_path, SPEC, edit)))
    assert refusal.value.reason is Reason.PIXEL_FORMAT


def test_a_sign_may_fill_the_spare_bits_or_be_left_out(tmp_path):
    cells = [-5, -5 & 0xFFF, 2047, -2048, 0x800]
    assert first_row(tmp_path, cells, PixelRepresentation=1, RescaleIntercept="0") == [-5, -5, 2047, -1024, -1024]


@pytest.mark.parametrize("padding", [63536, 0xF830])
def test_padding_may_need_more_bits_than_the_numbers(tmp_path, padding):
    assert first_row(tmp_path, [63536, 2096, 1024], PixelPaddingValue=padding) == [OUTSIDE_HU, 1072, 0]


def test_padding_is_found_whether_its_sign_fills_the_cell_or_not(tmp_path):
    row = first_row(
        tmp_path, [-2000, -2000 & 0xFFF, 1], PixelRepresentation=1, PixelPaddingValue=-2000, RescaleIntercept="0"
    )
    assert row == [OUTSIDE_HU, OUTSIDE_HU, 1]


def test_the_picture_may_be_shown_inverted(tmp_path):
    assert first_row(tmp_path, [1024, 1100], PhotometricInterpretation="MONOCHROME1") == [0, 76]


def test_eight_bits_are_read(tmp_path):
    def edit(index, ds):
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
        ds.RescaleSlope = "16"
        ds.PixelData = np.arange(ds.Rows * ds.Columns).astype(np.uint8).tobytes()

    volume = read_volume(read_series(write_ct(tmp_path, SPEC, edit)))
    assert volume[1, 0, :3].tolist() == [-1024, -1008, -992]
    assert volume.max() == 255 * 16 - 1024


def test_padding_of_one_file_says_nothing_of_the_next(tmp_path):
    def edit(index, ds):
        ds.PixelData = np.full((ds.Rows, ds.Columns), 1000 + index, "<u2").tobytes()
        ds.PixelPaddingValue = 1002

    volume = read_volume(read_series(write_ct(tmp_path, SPEC, edit)))
    assert volume[:, 0, 0].tolist() == [-24, -23, OUTSIDE_HU, -21, -20]
