"""Read the volume of a series in Hounsfield units."""

from collections import defaultdict
from pathlib import Path

import numpy as np

from segmenter.read.ct_values import require_ct_values
from segmenter.read.decoding import decode_apart
from segmenter.read.plane_pixels import FilePlanes, PlaneToFill, Volume, fill_planes, needs_decoder
from segmenter.read.series import Series


def read_volume(series: Series) -> Volume:
    """Return HU `(z, y, x)` on the series' grid, decoded from any transfer syntax pydicom knows.

    int16 when every slice's slope and intercept are whole numbers, else float32. Pixel padding
    (PS3.3 C.7.5.1.1.2) and anything below -1024 HU become -1024. Besides the volume, only one frame of a multi-frame
    object or one single-frame file is in memory at a time. Compressed pixels are decoded by another process. Raises
    SegmenterError: UNREADABLE for missing, damaged or truncated pixels, PIXEL_FORMAT for pixels that use more bits than
    declared, TRANSFER_SYNTAX for a syntax without a decoder, NOT_HU where Rescale Type leaves the unit open and the
    histogram is not that of a CT.
    """
    whole = all(float(v).is_integer() for plane in series.slices for v in (plane.slope, plane.intercept))
    dtype = np.dtype(np.int16 if whole else np.float32)
    planes: dict[Path, list[PlaneToFill]] = defaultdict(list)
    for index, plane in enumerate(series.slices):
        planes[plane.path].append(
            PlaneToFill(index, plane.frame, plane.rows, plane.columns, plane.slope, plane.intercept)
        )
    names = {plane.path: plane.sop_instance_uid for plane in series.slices}
    files = [FilePlanes(path, names[path], tuple(planes[path])) for path in sorted(planes)]
    compressed = [file for file in files if needs_decoder(file.path)]
    if not compressed:
        volume: Volume = np.empty(series.geometry.shape, dtype)
    else:
        volume = decode_apart(compressed, series.geometry.shape, dtype)
    for file in files:
        if file not in compressed:
            fill_planes(volume, file)
    if any(plane.unspecified for plane in series.slices):
        require_ct_values(volume)
    return volume
