"""Decode the pixels of one file frame by frame, from any transfer syntax, without loading a large file whole."""

import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import DeflatedExplicitVRLittleEndian

from segmenter.read.pixel_format import Stored

JPEG_FAMILY = "1.2.840.10008.1.2.4."
END_OF_IMAGE = b"\xff\xd9"  # EOI of JPEG and JPEG-LS, EOC of JPEG 2000
LARGE = 16 * 2**20  # bytes; from this size, pixels are read from the file frame by frame
# What pydicom and its plugins raise for pixels that are missing, truncated, damaged or in an unknown syntax.
DECODER_ERRORS = (
    ValueError, TypeError, LookupError, AttributeError, RuntimeError, OSError, EOFError, zlib.error,
)  # fmt: skip


@contextmanager
def open_pixels(path: Path, large: int = LARGE) -> Iterator[tuple[Dataset, Iterator[Stored]]]:
    """Yield a file's data set and its frames `(rows, columns)` as stored cells, in the order of the file.

    large: size in bytes from which the pixels stay on disk until a frame is read. Raises one of DECODER_ERRORS, on
    opening or on reading a frame, for missing, truncated or damaged pixels.
    """
    with ExitStack() as files:
        image = dcmread(path, defer_size=large if path.stat().st_size > large else None)
        if image.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian:
            image = dcmread(path)  # it is in memory anyway, and offsets in the file are not those of the data set
        pixels = image.get_item("PixelData", keep_deferred=True)
        if pixels is None:
            raise ValueError("the file has no pixel data")
        if isinstance(pixels, RawDataElement) and pixels.value is None:
            stream = files.enter_context(path.open("rb"))
            stream.seek(pixels.value_tell)
            yield image, _frames_of_stream(image, stream, pixels)
        else:
            yield image, _frames_of_data_set(image)


def _frames_of_data_set(image: Dataset) -> Iterator[Stored]:
    syntax = image.file_meta.TransferSyntaxUID
    _require_whole(image, image.PixelData)
    frames = get_decoder(syntax).iter_array(image, raw=True, correct_unused_bits=False, **as_pixel_options(image))
    return _without_panic(frames)


def _frames_of_stream(image: Dataset, stream: BinaryIO, pixels: RawDataElement) -> Iterator[Stored]:
    """Return the frames of pixels that begin at the stream's position; pixels: their element, not read."""
    syntax = image.file_meta.TransferSyntaxUID
    options = as_pixel_options(image, pixel_keyword="PixelData", pixel_vr=pixels.VR or "OW")
    needed = image.Rows * image.Columns * image.BitsAllocated // 8 * options["number_of_frames"]
    if not syntax.is_encapsulated and pixels.length < needed:
        raise ValueError("there are fewer pixels than declared")
    begin = stream.tell()
    _require_whole(image, stream)
    stream.seek(begin)
    frames = get_decoder(syntax).iter_array(stream, raw=True, correct_unused_bits=False, **options)
    return _without_panic(frames)


def _without_panic(frames: Iterator[tuple[Stored, Any]]) -> Iterator[Stored]:
    try:
        for cells, _ in frames:
            yield cells
    except BaseException as error:
        # A decoder written in Rust panics at some damaged streams; the panic is not derived from Exception.
        if type(error).__name__ == "PanicException":
            raise ValueError("the decoder panicked") from error
        raise


def _require_whole(image: Dataset, pixels: bytes | BinaryIO) -> None:
    """Raise ValueError for a truncated JPEG, JPEG-LS or JPEG 2000 stream: some decoders fill the rest silently."""
    if not image.file_meta.TransferSyntaxUID.startswith(JPEG_FAMILY):
        return
    options = as_pixel_options(image)
    streams = generate_frames(
        pixels, number_of_frames=options["number_of_frames"], extended_offsets=options.get("extended_offsets")
    )
    for stream in streams:
        if not stream.rstrip(b"\0").endswith(END_OF_IMAGE):
            raise ValueError("the compressed stream is truncated")
