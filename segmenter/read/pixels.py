"""Decode the pixels of one file frame by frame, from any transfer syntax, without loading a large file whole."""

import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.decoders.base import Decoder, get_decoder
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from segmenter.read.codestreams import Layout, PixelError, require_plausible, require_sound
from segmenter.read.files import parse_file
from segmenter.read.pixel_format import Stored

LARGE = 16 * 2**20  # bytes; from this size, pixels are read from the file frame by frame
# What pydicom and its plugins raise for pixels that are missing, truncated, damaged or in an unknown syntax.
DECODER_ERRORS = (
    ValueError, TypeError, LookupError, AttributeError, RuntimeError, OSError, EOFError, zlib.error,
)  # fmt: skip
PROPOSED = "Explicit VR Little Endian, or a lossless syntax of JPEG, JPEG-LS, JPEG 2000 or RLE"


class UnsupportedSyntaxError(PixelError):
    """The transfer syntax has no decoder here."""


@contextmanager
def open_pixels(path: Path, large: int = LARGE) -> Iterator[tuple[Dataset, Iterator[Stored]]]:
    """Yield a file's data set and its frames `(rows, columns)` as stored cells, in the order of the file.

    large: size in bytes from which the pixels stay on disk until a frame is read. Raises one of DECODER_ERRORS, on
    opening or on reading a frame, for missing, truncated or damaged pixels.
    """
    with ExitStack() as files:
        image = parse_file(path, large=large if path.stat().st_size > large else None)
        syntax = image.file_meta.TransferSyntaxUID
        if syntax == DeflatedExplicitVRLittleEndian:
            image = parse_file(path)  # it is in memory anyway, and offsets in the file are not those of the data set
        decoder = _decoder(syntax)
        pixels = image.get_item("PixelData", keep_deferred=True)
        if pixels is None:
            raise ValueError("the file has no pixel data")
        _require_stated_syntax(image, pixels)
        require_plausible(_layout(image))
        if isinstance(pixels, RawDataElement) and pixels.value is None:
            stream = files.enter_context(path.open("rb"))
            stream.seek(pixels.value_tell)
            yield image, _frames_of_stream(image, decoder, stream, pixels)
        else:
            yield image, _frames_of_data_set(image, decoder)


def _decoder(syntax: UID) -> Decoder:
    try:
        return get_decoder(syntax)
    except NotImplementedError as error:
        name = syntax.name if syntax.name != syntax else "private or unknown"
        raise UnsupportedSyntaxError(
            f"are in a transfer syntax that is not supported ({name}): the sender should propose {PROPOSED}"
        ) from error


def _require_stated_syntax(image: Dataset, pixels: Any) -> None:
    """Refuse compressed pixels of a file that does not state its transfer syntax."""
    undefined = pixels.length == 0xFFFFFFFF if isinstance(pixels, RawDataElement) else pixels.is_undefined_length
    if undefined and not image.file_meta.TransferSyntaxUID.is_encapsulated:
        raise UnsupportedSyntaxError(
            "are compressed, but the file does not state how: its file meta information is missing or names a transfer "
            f"syntax without compression; the sender should propose {PROPOSED}"
        )


def _layout(image: Dataset) -> Layout:
    values = (image.get(keyword) for keyword in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated"))
    rows, columns, samples, allocated = (int(value or 0) for value in values)
    return Layout(rows, columns, samples or 1, allocated)


def _frames_of_data_set(image: Dataset, decoder: Decoder) -> Iterator[Stored]:
    _require_sound(image, image.PixelData)
    frames = decoder.iter_array(image, raw=True, correct_unused_bits=False, **as_pixel_options(image))
    return _without_panic(frames)


def _frames_of_stream(image: Dataset, decoder: Decoder, stream: BinaryIO, pixels: RawDataElement) -> Iterator[Stored]:
    """Return the frames of pixels that begin at the stream's position; pixels: their element, not read."""
    options = as_pixel_options(image, pixel_keyword="PixelData", pixel_vr=pixels.VR or "OW")
    needed = image.Rows * image.Columns * image.BitsAllocated // 8 * options["number_of_frames"]
    if not image.file_meta.TransferSyntaxUID.is_encapsulated and pixels.length < needed:
        raise ValueError("there are fewer pixels than declared")
    begin = stream.tell()
    _require_sound(image, stream)
    stream.seek(begin)
    frames = decoder.iter_array(stream, raw=True, correct_unused_bits=False, **options)
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


def _require_sound(image: Dataset, pixels: bytes | BinaryIO) -> None:
    """Raise PixelError for a compressed frame that no decoder may be given."""
    syntax = image.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated:
        return
    options = as_pixel_options(image)
    streams = generate_frames(
        pixels, number_of_frames=options["number_of_frames"], extended_offsets=options.get("extended_offsets")
    )
    for stream in streams:
        require_sound(stream, syntax, _layout(image))
