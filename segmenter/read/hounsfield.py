"""Read the volume of a series in Hounsfield units."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from segmenter.errors import Reason, SegmenterError
from segmenter.read.ct_values import require_ct_values
from segmenter.read.pixel_format import PixelFormat, Stored, pixel_format
from segmenter.read.pixels import DECODER_ERRORS, open_pixels
from segmenter.read.series import Series
from segmenter.read.slices import Slice
from segmenter.volume.resample import OUTSIDE_HU

Volume = NDArray[np.int16] | NDArray[np.float32]
Planes = Sequence[tuple[int, Slice]]  # with their index in the volume


def read_volume(series: Series) -> Volume:
    """Return HU `(z, y, x)` on the series' grid, decoded from any transfer syntax pydicom knows.

    int16 when every slice's slope and intercept are whole numbers, else float32. Pixel padding
    (PS3.3 C.7.5.1.1.2) and anything below -1024 HU become -1024. Besides the volume, only one frame of a multi-frame
    object or one single-frame file is in memory at a time. Raises SegmenterError(UNREADABLE) for missing, damaged or
    truncated pixels, PIXEL_FORMAT for pixels that use more bits than declared, NOT_HU where Rescale Type leaves the
    unit open and the histogram is not that of a CT.
    """
    whole = all(float(v).is_integer() for plane in series.slices for v in (plane.slope, plane.intercept))
    shape = series.geometry.shape
    volume: Volume = np.empty(shape, np.int16) if whole else np.empty(shape, np.float32)
    files = defaultdict(list)
    for index, plane in enumerate(series.slices):
        files[plane.path].append((index, plane))
    for path in sorted(files):
        _fill(volume, files[path])
    if any(plane.unspecified for plane in series.slices):
        require_ct_values(volume)
    return volume


def _fill(volume: Volume, planes: Planes) -> None:
    """Read the planes of one file into the volume."""
    first = planes[0][1]
    wanted = {plane.frame or 1: (index, plane) for index, plane in planes}
    try:
        with open_pixels(first.path) as (image, frames):
            if first.frame is None and int(image.get("NumberOfFrames") or 1) != 1:
                raise ValueError("a single-frame image declares several frames")
            layout = pixel_format(image, f"image {first.sop_instance_uid}")
            for number, cells in enumerate(frames, 1):
                if number in wanted:
                    index, plane = wanted.pop(number)
                    volume[index] = _to_hu(cells, plane, _padding(image, cells.dtype), layout)
                if not wanted:
                    break
    except DECODER_ERRORS as error:
        raise SegmenterError(
            Reason.UNREADABLE,
            f"the pixels of image {first.sop_instance_uid} cannot be decoded ({type(error).__name__}): "
            "they are truncated or damaged; send the image again",
        ) from error
    if wanted:
        raise SegmenterError(
            Reason.UNREADABLE,
            f"the pixels of image {first.sop_instance_uid} have {len(wanted)} frames fewer than declared: "
            "send the image again",
        )


def _padding(image: Dataset, dtype: np.dtype[np.integer]) -> tuple[int, int] | None:
    """Return the lowest and highest padding value as stored values, or None."""
    ends = [image.get("PixelPaddingValue"), image.get("PixelPaddingRangeLimit")]
    if ends[0] is None:
        return None
    # The sign follows Pixel Representation, whatever VR the sender wrote (PS3.3 C.7.5.1.1.2).
    values = [int(np.array(int(end) & 0xFFFF, np.uint16).astype(dtype)) for end in ends if end is not None]
    return min(values), max(values)


def _to_hu(cells: Stored, plane: Slice, padding: tuple[int, int] | None, layout: PixelFormat) -> NDArray[np.float32]:
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
