"""A series -> its volume in Hounsfield units."""

import zlib
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.utils import pixel_array

from segmenter.errors import Reason, SegmenterError
from segmenter.grids import OUTSIDE_HU
from segmenter.series import Series
from segmenter.slices import Slice

JPEG_FAMILY = "1.2.840.10008.1.2.4."
END_OF_IMAGE = b"\xff\xd9"  # EOI of JPEG and JPEG-LS, EOC of JPEG 2000
# What pydicom and its decoder plugins raise for pixels missing, cut off, broken or in an unknown syntax.
DECODER_ERRORS = (
    ValueError, TypeError, LookupError, AttributeError, RuntimeError, OSError, EOFError, zlib.error,
)  # fmt: skip

Volume = NDArray[np.int16] | NDArray[np.float32]


def read_volume(series: Series) -> Volume:
    """Return HU `(z, y, x)` on the series' grid, decoded from any transfer syntax pydicom knows.

    int16 when every slice's slope and intercept are whole numbers, else float32. Pixel padding
    (PS3.3 C.7.5.1.1.2) and anything below -1024 HU become -1024. Raises SegmenterError(UNREADABLE) for
    missing, broken or cut-off pixels.
    """
    whole = all(float(v).is_integer() for plane in series.slices for v in (plane.slope, plane.intercept))
    shape = series.geometry.shape
    volume: Volume = np.empty(shape, np.int16) if whole else np.empty(shape, np.float32)
    indexed = sorted(enumerate(series.slices), key=lambda item: str(item[1].path))
    for _, group in groupby(indexed, key=lambda item: item[1].path):
        planes = list(group)
        image, stored = _decode(planes[0][1])
        for index, plane in planes:
            frame = stored[(plane.frame or 1) - 1]
            volume[index] = _to_hu(frame, plane, _padding(image, stored.dtype), volume.dtype)
    return volume


def _decode(plane: Slice) -> tuple[Dataset, NDArray[np.integer]]:
    """Return a file's data set and its stored values `(frames, rows, columns)`."""
    try:
        image = dcmread(plane.path)
        if plane.frame is None and int(image.get("NumberOfFrames") or 1) != 1:
            raise ValueError("a single-frame image that says it has many")
        _require_whole(image)
        stored = _pixels(image)
        _padding(image, stored.dtype)
    except DECODER_ERRORS as error:
        raise SegmenterError(
            Reason.UNREADABLE,
            f"the pixels of image {plane.sop_instance_uid} cannot be decoded ({type(error).__name__}): "
            "they are cut off or broken, send the image again",
        ) from error
    frames = stored.reshape(-1, *stored.shape[-2:])
    wanted = int(image.get("NumberOfFrames") or 1), plane.rows, plane.columns
    if frames.shape != wanted:
        raise SegmenterError(
            Reason.UNREADABLE,
            f"the pixels of image {plane.sop_instance_uid} are {frames.shape}, described are {wanted}",
        )
    return image, frames


def _pixels(image: Dataset) -> NDArray[np.integer]:
    try:
        return pixel_array(image)
    except BaseException as error:
        # A decoder written in Rust panics at some broken streams, and a panic is no Exception.
        if type(error).__name__ == "PanicException":
            raise ValueError("the decoder panicked") from error
        raise


def _require_whole(image: Dataset) -> None:
    """Refuse a JPEG, JPEG-LS or JPEG 2000 stream that breaks off: some decoders fill the rest and say nothing."""
    if not image.file_meta.TransferSyntaxUID.startswith(JPEG_FAMILY):
        return
    count = int(image.get("NumberOfFrames") or 1)
    for stream in generate_frames(image.PixelData, number_of_frames=count):
        if not stream.rstrip(b"\0").endswith(END_OF_IMAGE):
            raise ValueError("the compressed stream has no end")


def _padding(image: Dataset, dtype: np.dtype[np.integer]) -> tuple[int, int] | None:
    """Return the lowest and highest padding value as stored values, or None."""
    if image.get("PixelPaddingValue") is None:
        return None
    ends = [image.PixelPaddingValue, image.get("PixelPaddingRangeLimit")]
    # The sign follows Pixel Representation, whatever VR the sender wrote (PS3.3 C.7.5.1.1.2).
    values = [int(np.array(int(end) & 0xFFFF, np.uint16).astype(dtype)) for end in ends if end is not None]
    return min(values), max(values)


def _to_hu(
    stored: NDArray[np.integer], plane: Slice, padding: tuple[int, int] | None, dtype: np.dtype[np.generic]
) -> NDArray[np.generic]:
    hu = stored.astype(np.float32) * np.float32(plane.slope) + np.float32(plane.intercept)
    if padding is not None:
        hu[(stored >= padding[0]) & (stored <= padding[1])] = OUTSIDE_HU
    limit = np.iinfo(np.int16).max
    clipped: NDArray[np.generic] = np.clip(hu, OUTSIDE_HU, limit).astype(dtype)
    return clipped
