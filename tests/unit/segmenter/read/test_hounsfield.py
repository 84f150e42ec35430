"""HU of a series: rescale per slice, padding, compressed pixels, and pixels that break off."""

import subprocess
import tracemalloc

import numpy as np
import pytest
from ct_factory import CtSpec, write_ct, write_enhanced
from pydicom import dcmread
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from segmenter.errors import Reason, SegmenterError
from segmenter.read.hounsfield import read_volume
from segmenter.read.pixels import DECODER_ERRORS, LARGE, open_pixels
from segmenter.read.series import read_series
from segmenter.vnet.grids import COARSE_MM
from segmenter.volume.geometry import box_geometry
from segmenter.volume.resample import OUTSIDE_HU, reduce

COMPRESSED = (RLELossless, JPEGLSLossless, JPEG2000Lossless)


def test_whole_numbers_stay_int16(tmp_path):
    volume = read_volume(read_series(write_ct(tmp_path, CtSpec())))
    assert volume.dtype == np.int16
    assert np.array_equal(volume, CtSpec().hu())


def test_slope_and_intercept_are_each_slices_own(tmp_path):
    def edit(index, ds):
        ds.RescaleSlope, ds.RescaleIntercept = f"{1 + index / 8:g}", f"{-1024 + index}"
        ds.PixelData = np.full(ds.Rows * ds.Columns, 1000, "<u2").tobytes()

    volume = read_volume(read_series(write_ct(tmp_path, CtSpec(), edit)))
    assert volume.dtype == np.float32
    assert volume[:, 3, 5].tolist() == [1000 * (1 + k / 8) - 1024 + k for k in range(20)]


@pytest.mark.parametrize(
    ("representation", "padding", "limit"),
    [(0, 63536, None), (1, -2000, None), (1, 63536, None), (1, -2000, -1500), (0, 5, 9)],
)
def test_padding_becomes_outside_whatever_sign_the_sender_wrote(tmp_path, representation, padding, limit):
    code = np.uint16(padding & 0xFFFF)

    def edit(index, ds):
        ds.PixelRepresentation = representation
        pixels = np.full((ds.Rows, ds.Columns), 1100, "<u2")
        pixels[0, :3] = code, code, code + np.uint16(limit is not None)
        pixels[0, 3] = 1024
        ds.PixelData = pixels.tobytes()
        vr = "US" if padding >= 0 else "SS"
        ds.add_new("PixelPaddingValue", vr, padding)
        if limit is not None:
            ds.add_new("PixelPaddingRangeLimit", vr, limit)

    volume = read_volume(read_series(write_ct(tmp_path, CtSpec(), edit)))
    assert volume[4, 0, :5].tolist() == [OUTSIDE_HU, OUTSIDE_HU, OUTSIDE_HU, 0, 76]


def test_less_than_air_is_cut_off(tmp_path):
    def edit(index, ds):
        ds.PixelRepresentation, ds.RescaleIntercept = 1, "0"
        ds.PixelData = np.full(ds.Rows * ds.Columns, -2000, "<i2").tobytes()

    assert set(read_volume(read_series(write_ct(tmp_path, CtSpec(), edit))).ravel()) == {OUTSIDE_HU}


@pytest.mark.parametrize("syntax", COMPRESSED)
def test_compressed_pixels_give_the_same_numbers(tmp_path, syntax):
    def edit(index, ds):
        ds.compress(syntax, generate_instance_uid=False)

    spec = CtSpec(shape=(14, 64, 72))  # JPEG 2000 needs room for its resolutions
    files = write_ct(tmp_path, spec, edit)
    assert dcmread(files[0]).file_meta.TransferSyntaxUID == syntax
    assert np.array_equal(read_volume(read_series(files)), spec.hu())


def test_jpeg_lossless_and_deflated_from_dcmtk(tmp_path, tool):
    files = write_ct(tmp_path, CtSpec())
    for path in files[::2]:
        subprocess.run([tool("dcmcjpeg"), "+e1", path, path], check=True)
    for path in files[1::2]:
        subprocess.run([tool("dcmconv"), "+td", path, path], check=True)
    assert dcmread(files[1]).file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian
    assert dcmread(files[0]).file_meta.TransferSyntaxUID.is_compressed
    assert np.array_equal(read_volume(read_series(files)), CtSpec().hu())


def test_implicit_vr_and_enhanced_frames_out_of_order(tmp_path):
    files = write_ct(tmp_path / "a", CtSpec())
    for path in files:
        ds = dcmread(path)
        ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        ds.save_as(path, implicit_vr=True, little_endian=True)
    assert np.array_equal(read_volume(read_series(files)), CtSpec().hu())
    assert np.array_equal(read_volume(read_series(write_enhanced(tmp_path / "b", CtSpec()))), CtSpec().hu())


def cut_native(ds):
    ds.PixelData = ds.PixelData[:-100]


def cut_encoded(ds):
    ds.compress(JPEGLSLossless, generate_instance_uid=False)
    ds.PixelData = ds.PixelData[: len(ds.PixelData) // 2]


def without(ds):
    del ds.PixelData


def smaller(ds):
    ds.compress(JPEGLSLossless, generate_instance_uid=False)
    ds.Rows = 23


@pytest.mark.parametrize("fault", [cut_native, cut_encoded, without, smaller])
def test_pixels_that_cannot_be_trusted_are_refused(tmp_path, fault):
    def edit(index, ds):
        if index == 6 or fault is smaller:
            fault(ds)

    files = write_ct(tmp_path, CtSpec(), edit)
    with pytest.raises(SegmenterError, match=r"pixels of image 1\.2\.826\.0\.1\.3680043\.9\.1\.\d+ ") as refusal:
        read_volume(read_series(files))
    assert refusal.value.reason is Reason.UNREADABLE


def test_file_cut_off_on_its_way_is_refused(tmp_path):
    files = write_ct(tmp_path, CtSpec())
    files[0].write_bytes(files[0].read_bytes()[:-500])
    with pytest.raises(SegmenterError, match="cannot be decoded") as refusal:
        read_volume(read_series(files))
    assert refusal.value.reason is Reason.UNREADABLE


def test_deflated_garbage_is_refused(tmp_path):
    files = write_ct(tmp_path, CtSpec())
    ds = dcmread(files[0])
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    ds.save_as(files[0])
    content = files[0].read_bytes()
    files[0].write_bytes(content[: len(content) // 2])
    with pytest.raises(SegmenterError, match="cannot be read as DICOM") as refusal:
        read_volume(read_series(files))
    assert refusal.value.reason is Reason.UNREADABLE


def all_frames(path, large):
    with open_pixels(path, large) as (image, frames):
        return image, np.stack(list(frames))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, *COMPRESSED])
def test_a_large_file_read_frame_by_frame_gives_what_it_gives_read_whole(tmp_path, syntax):
    (path,) = write_enhanced(tmp_path, CtSpec(shape=(14, 64, 72)))
    ds = dcmread(path)
    if syntax in COMPRESSED:
        ds.compress(syntax, generate_instance_uid=False)
    ds.file_meta.TransferSyntaxUID = syntax
    ds.save_as(path, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    whole, expected = all_frames(path, LARGE)
    assert whole.get_item("PixelData").value
    image, found = all_frames(path, 0)
    assert image.get_item("PixelData", keep_deferred=True).value is None
    assert np.array_equal(found, expected)
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(DECODER_ERRORS):
        all_frames(path, 0)


def test_a_large_file_with_fewer_pixels_than_described_is_refused_before_what_follows_them_is_read(tmp_path):
    (path,) = write_enhanced(tmp_path, CtSpec())
    ds = dcmread(path)
    ds.PixelData = ds.PixelData[:-1000]
    ds.add_new(0xFFFCFFFC, "OB", bytes(4000))  # Data Set Trailing Padding
    ds.save_as(path)
    with pytest.raises(ValueError, match="fewer pixels than declared"):
        all_frames(path, 0)


def test_deflated_pixels_are_read_however_large(tmp_path):
    (path,) = write_enhanced(tmp_path, CtSpec())
    ds = dcmread(path)
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    ds.save_as(path)
    assert np.array_equal(all_frames(path, 0)[1], all_frames(path, LARGE)[1])


def peak_bytes(work):
    """Return the most memory that Python and numpy held for a piece of work, and its result."""
    tracemalloc.start()
    try:
        return work(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("write", [write_ct, write_enhanced])
def test_reading_takes_little_more_memory_than_the_volume(tmp_path, write):
    series = read_series(write(tmp_path, CtSpec(shape=(40, 512, 512), spacing=(1.0, 0.8, 0.8))))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) > LARGE
    volume, peak = peak_bytes(lambda: read_volume(series))
    assert peak < 1.25 * volume.nbytes


@pytest.mark.parametrize("tilt", [0.0, 15.0])
def test_the_networks_grids_take_little_memory_whatever_the_scan(tilt):
    spec = CtSpec(shape=(200, 256, 256), spacing=(1.0, 1.6, 1.6), tilt=tilt)
    volume, corners = np.zeros(spec.shape, np.int16), spec.geometry.corners()
    coarse = box_geometry(corners.min(axis=0), corners.max(axis=0), COARSE_MM)
    reduced, peak = peak_bytes(lambda: reduce(volume, spec.geometry, coarse, OUTSIDE_HU))
    assert peak < reduced.nbytes + 0.75 * volume.nbytes


SIZES = {
    "0.4 mm": CtSpec(shape=(110, 24, 28), spacing=(0.4, 2.5, 2.0)),
    "5 mm": CtSpec(shape=(9, 24, 28), spacing=(5.0, 2.5, 2.0)),
    "five slices": CtSpec(shape=(5, 24, 28), spacing=(8.0, 2.5, 2.0)),
    "2,000 slices": CtSpec(shape=(2000, 16, 17), spacing=(0.4, 3.0, 3.0)),
    "long pixels": CtSpec(shape=(12, 90, 14), spacing=(4.0, 0.5, 4.5)),
}


@pytest.mark.parametrize("spec", SIZES.values(), ids=SIZES)
def test_thin_and_thick_slices_few_and_many(tmp_path, spec):
    series = read_series(write_enhanced(tmp_path, spec))
    assert series.geometry.spacing == pytest.approx(spec.spacing)
    assert np.array_equal(read_volume(series), spec.hu())
