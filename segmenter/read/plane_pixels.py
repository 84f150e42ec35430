"""Fill the planes of one file into a volume: decoded, without padding and unused bits, in HU."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from segmenter.errors import Reason, SegmenterError
from segmenter.read.codestreams import PixelError
from segmenter.read.files import UNREADABLE
from segmenter.read.pixel_format import PixelFormat, Stored, pixel_format
from segmenter.read.pixels import DECODER_ERRORS, UnsupportedSyntaxError, open_pixels
from segmenter.volume.resample import OUTSIDE_HU

PLAIN = (None, ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)
Volume = NDArray[np.int16] | NDArray[np.float32]


@dataclass(frozen=True)
class PlaneToFill:
    """Where the pixels of one plane go, and what they mean. frame: 1-based, None in a single-frame file."""

    index: int
    frame: int | None
    rows: int
    columns: int
    slope: float
    intercept: float


@dataclass(frozen=True)
class FilePlanes:
    """The planes that one file holds; name: its SOP Instance UID, for messages."""

    path: Path
    name: str
    planes: tuple[PlaneToFill, ...]


def needs_decoder(path: Path) -> bool:
    """Return whether a file's pixels are compressed; without a preamble they cannot be."""
    try:
        syntax = read_file_meta_info(path).get("TransferSyntaxUID")
    except UNREADABLE:
        return False
    return syntax not in PLAIN


def fill_planes(volume: Volume, file: FilePlanes) -> None:
    """Read the planes of one file into the volume; raises SegmenterError as `hounsfield.read_volume` does."""
    wanted = {plane.frame or 1: plane for plane in file.planes}
    try:
        with open_pixels(file.path) as (image, frames):
            if file.planes[0].frame is None and int(image.get("NumberOfFrames") or 1) != 1:
                raise ValueError("a single-frame image declares several frames")
            layout = pixel_format(image, f"image {file.name}")
            for number, cells in enumerate(frames, 1):
                if number in wanted:
                    plane = wanted.pop(number)
                    volume[plane.index] = _to_hu(cells, plane, _padding(image, cells.dtype), layout)
                if not wanted:
                    break
    except PixelError as error:
        unsupported = isinstance(error, UnsupportedSyntaxError)
        raise SegmenterError(
            Reason.TRANSFER_SYNTAX if unsupported else Reason.UNREADABLE, f"the pixels of image {file.name} {error}"
        ) from error
    except DECODER_ERRORS as error:
        raise SegmenterError(
            Reason.UNREADABLE,
            f"the pixels of image {file.name} cannot be decoded ({type(error).__name__}): "
            "they are truncated or damaged; send the image again",
        ) from error
    if wanted:
        raise SegmenterError(
            Reason.UNREADABLE,
            f"the pixels of image {file.name} have {len(wanted)} frames fewer than declared: send the image again",
        )


def _padding(image: Dataset, dtype: np.dtype[np.integer]) -> tuple[int, int] | None:
    """Return the lowest and highest padding value as stored values, or None."""
    ends = [image.get("PixelPaddingValue"), image.get("PixelPaddingRangeLimit")]
    if ends[0] is None:
        return None
    # The sign follows Pixel Representation, whatever VR the sender wrote (PS3.3 C.7.5.1.1.2).
    values = [int(np.array(int(end) & 0xFFFF, np.uint16).astype(dtype)) for end in ends if end is not None]
    return min(values), max(values)


def _to_hu(
    cells: Stored, plane: PlaneToFill, padding: tuple[int, int] | None, layout: PixelFormat
) -> NDArray[np.float32]:
    if cells.shape != (plane.rows, plane.columns):
        raise ValueError(f"the pixels are {cells.shape}, expected {plane.rows} x {plane.columns}")
    # Some senders compare padding with the whole cell, others with the stored bits: accept both.
    empty = _within(cells, padding)
    numbers = layout.numbers(cells, empty)
    hu = numbers.astype(np.float32) * np.float32(plane.slope) + np.float32(plane.intercept)
    hu[empty | _within(numbers, padding)] = OUTSIDE_HU
    return hu.clip(OUTSIDE_HU, np.iinfo(np.int16).max)


def _within(values: Stored, padding: tuple[int, int] | None) -> NDArray[np.bool_]:
    if padding is None:
        return np.zeros(values.shape, bool)
    inside: NDArray[np.bool_] = (values >= padding[0]) & (values <= padding[1])
    return inside
