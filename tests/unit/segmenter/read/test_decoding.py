"""Compressed pixels: what a stream says before a decoder is given it, and the limits of the process that decodes."""

import resource
import struct
import sys
import threading
import time

import numpy as np
import pytest
from ct_factory import CtSpec, write_ct
from pydicom import dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from segmenter.errors import Reason, SegmenterError
from segmenter.read import decoding, files
from segmenter.read.hounsfield import read_volume
from segmenter.read.plane_pixels import FilePlanes, PlaneToFill
from segmenter.read.series import read_series

SPEC = CtSpec(shape=(5, 64, 72), spacing=(10.0, 1.0, 1.0))
ENCODED = (JPEG2000Lossless, JPEGLSLossless, RLELossless)


def compressed(folder, syntax, change=lambda stream: stream, **tags):
    """Write a series in a compressed syntax; change: applied to the stream of each image."""

    def edit(index, ds):
        ds.compress(syntax, generate_instance_uid=False)
        (stream,) = generate_frames(ds.PixelData, number_of_frames=1)
        ds.PixelData = encapsulate([change(stream)])
        for keyword, value in tags.items():
            setattr(ds, keyword, value)

    return write_ct(folder, SPEC, edit)


def sized(rows, columns, samples=1):
    """Return a function that writes another size into the header of a JPEG, JPEG-LS or JPEG 2000 stream."""

    def change(stream):
        if (at := stream.find(b"\xff\x51")) == 2:
            head = stream[: at + 6] + struct.pack(">8I", columns, rows, 0, 0, columns, rows, 0, 0)
            return head + struct.pack(">H", samples) + stream[at + 40 :]
        at = next(at for at in range(len(stream)) if stream[at : at + 2] in (b"\xff\xf7", b"\xff\xc3"))
        return stream[: at + 5] + struct.pack(">HHB", rows, columns, samples) + stream[at + 10 :]

    return change


def lossless_jpeg(path, change):
    """Write one image as lossless JPEG with an own, tiny stream of one scan without data."""
    head = b"\xff\xd8\xff\xc3" + struct.pack(">HBHHB3B", 11, 16, 64, 72, 1, 1, 0x11, 0)
    scan = b"\xff\xda" + struct.pack(">HB2B3B", 8, 1, 1, 0, 1, 0, 0)
    ds = dcmread(path)
    ds.PixelData = encapsulate([change(head + scan + bytes(64) + b"\xff\xd9")])
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    ds.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    ds.save_as(path)


def refusal_of(files_of_series):
    """Return the refusal; it must come soon and take little memory."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    with pytest.raises(SegmenterError) as refusal:
        read_volume(read_series(files_of_series))
    assert time.monotonic() - began < 60
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss - before < 1_000_000
    return refusal.value


@pytest.mark.parametrize(("rows", "columns"), [(60000, 60000), (64, 60000), (60000, 72), (32, 36)])
@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless])
def test_a_stream_of_another_size_than_its_header_is_not_decoded(tmp_path, syntax, rows, columns):
    refusal = refusal_of(compressed(tmp_path, syntax, sized(rows, columns)))
    assert refusal.reason is Reason.UNREADABLE
    assert f"are {rows} x {columns} with 1 samples" in str(refusal) and "64 x 72 with 1 samples" in str(refusal)


def test_lossless_jpeg_of_another_size_is_not_decoded(tmp_path):
    paths = write_ct(tmp_path, SPEC)
    lossless_jpeg(paths[0], sized(65500, 65500))
    assert "are 65500 x 65500 with 1 samples" in str(refusal_of(paths))


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless])
def test_a_stream_of_more_samples_is_not_decoded(tmp_path, syntax):
    assert "64 x 72 with 200 samples" in str(refusal_of(compressed(tmp_path, syntax, sized(64, 72, 200))))


def test_a_stream_of_many_tiles_is_not_decoded(tmp_path):
    def change(stream):
        return stream[:24] + struct.pack(">2I", 1, 1) + stream[32:]

    assert "have 4608 tiles" in str(refusal_of(compressed(tmp_path, JPEG2000Lossless, change)))


RLE_HEADERS = {
    "three segments": (3, 64, 65, 66),
    "an offset beyond the end": (2, 64, 10_000_000),
    "descending offsets": (2, 900, 64),
    "an offset inside the header": (2, 4, 64),
}


@pytest.mark.parametrize("header", RLE_HEADERS.values(), ids=RLE_HEADERS)
def test_an_rle_header_that_lies_is_not_decoded(tmp_path, header):
    packed = struct.pack(f"<{len(header)}I", *header).ljust(64, b"\0")
    refusal = refusal_of(compressed(tmp_path, RLELossless, lambda stream: packed + stream[64:]))
    assert refusal.reason is Reason.UNREADABLE
    assert "RLE" in str(refusal)


@pytest.mark.parametrize("syntax", ENCODED)
def test_a_stream_much_larger_than_its_pixels_is_not_decoded(tmp_path, syntax):
    refusal = refusal_of(compressed(tmp_path, syntax, lambda stream: stream + bytes(1_000_000)))
    assert "bytes compressed, but only 9216 without" in str(refusal)


@pytest.mark.parametrize("padding", [b"\0", b"\xff", b"\xff\xff\xff", b"\0" * 900, b"\xff" * 901, b" ", b"\0\xff"])
@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless])
def test_whatever_follows_the_end_marker_is_padding(tmp_path, syntax, padding):
    paths = compressed(tmp_path, syntax, lambda stream: stream.rstrip(b"\0") + padding)
    assert np.array_equal(read_volume(read_series(paths)), SPEC.hu())


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless])
def test_a_stream_without_an_end_marker_is_truncated(tmp_path, syntax):
    for share in (0.3, 0.9):
        paths = compressed(tmp_path / str(share), syntax, lambda stream, s=share: stream[: int(len(stream) * s)])
        assert "truncated" in str(refusal_of(paths))


UNSUPPORTED = {
    "1.2.840.10008.1.2.4.52": "JPEG Extended (Process 3 and 5)",
    "1.2.840.10008.1.2.4.94": "JPIP Referenced",
    "1.2.840.10008.1.2.4.100": "MPEG2 Main Profile / Main Level",
    "1.2.840.113619.5.2": "private or unknown",
}


@pytest.mark.parametrize(("syntax", "name"), UNSUPPORTED.items())
def test_a_syntax_without_a_decoder_is_called_not_supported(tmp_path, syntax, name):
    paths = write_ct(tmp_path, SPEC)
    ds = dcmread(paths[0])
    ds.PixelData = encapsulate([bytes(100)])
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    ds.file_meta.TransferSyntaxUID = syntax
    ds.save_as(paths[0], implicit_vr=False, little_endian=True)
    refusal = refusal_of(paths)
    assert refusal.reason is Reason.TRANSFER_SYNTAX
    assert f"not supported ({name}): the sender should propose Explicit VR Little Endian" in str(refusal)


def request_for(paths):
    planes = [PlaneToFill(index, None, 64, 72, 1.0, -1024.0) for index in range(len(paths))]
    return [FilePlanes(path, f"1.2.{n}", (plane,)) for n, (path, plane) in enumerate(zip(paths, planes, strict=True))]


def test_a_decoder_that_needs_more_memory_than_allowed_is_refused_by_name(tmp_path):
    paths = compressed(tmp_path, JPEG2000Lossless)
    with pytest.raises(SegmenterError, match=r"image 1\.2\.0 ") as refusal:
        decoding.decode_apart(request_for(paths), SPEC.shape, np.dtype(np.int16), most_memory=50_000)
    assert refusal.value.reason is Reason.UNREADABLE


def test_a_crash_of_the_decoder_is_a_refusal_and_the_process_that_asked_goes_on(tmp_path, monkeypatch):
    (tmp_path / "crash.py").write_text(
        "import json, os\nprint(json.dumps({'image': '1.2.7'}), flush=True)\nos.kill(os.getpid(), 11)\n"
    )
    monkeypatch.setattr(decoding, "PROGRAM", "crash")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(SegmenterError, match=r"image 1\.2\.7 stopped the program that decodes them \(SIGSEGV\)"):
        decoding.decode_apart(request_for([]), SPEC.shape, np.dtype(np.int16))


def test_other_threads_run_while_a_decoder_holds_the_lock(tmp_path, monkeypatch):
    (tmp_path / "busy.py").write_text(
        "import ctypes, json\nctypes.PyDLL(None).usleep(1_500_000)\nprint(json.dumps({'done': True}))\n"
    )
    monkeypatch.setattr(decoding, "PROGRAM", "busy")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    beats, done = [], threading.Event()

    def beat():
        while not done.wait(0.1):
            beats.append(time.monotonic())

    thread = threading.Thread(target=beat)
    thread.start()
    decoding.decode_apart(request_for([]), SPEC.shape, np.dtype(np.int16))
    done.set()
    thread.join()
    assert len(beats) > 8


def test_a_deflated_file_that_grows_beyond_the_limit_is_refused(tmp_path, monkeypatch):
    def edit(index, ds):
        ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        ds.add_new(0xFFFCFFFC, "OB", bytes(3_000_000))

    paths = write_ct(tmp_path, SPEC, edit)
    assert paths[0].stat().st_size < 100_000
    assert np.array_equal(read_volume(read_series(paths)), SPEC.hu())
    monkeypatch.setattr(files, "MOST_INFLATED", 2_000_000)
    with pytest.raises(SegmenterError, match=r"grows beyond .* send it uncompressed") as refusal:
        read_series(paths)
    assert refusal.value.reason is Reason.UNREADABLE
    assert sys.exc_info() == (None, None, None)
