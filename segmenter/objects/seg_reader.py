"""Read a segmentation as a viewer does: its header and the functional groups of each frame; no code of the writer."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.pixels.utils import iter_pixels, pixel_array
from pydicom.tag import Tag

from segmenter.volume.femur import Side

LATERALITY = MappingProxyType({"7771000": Side.LEFT, "24028007": Side.RIGHT})  # SCT codes of CID 244
# What pydicom raises for truncated files and for missing attributes.
MALFORMED = (
    AttributeError, KeyError, IndexError, TypeError, ValueError, InvalidDicomError, BytesLengthException, OSError,
    EOFError, RuntimeError,
)  # fmt: skip
PIXEL_DATA = Tag("PixelData")
PIXELS_STAY_ON_DISK = 2**20  # bytes from which a value is read only on access


@dataclass(frozen=True, eq=False)
class SegFrame:
    """The functional groups of one frame; a missing one is None or empty.

    sources: the items of all source images; position: LPS mm, shape (3,); indices: Dimension Index Values.
    """

    segment: int | None
    sources: tuple[Dataset, ...]
    position: NDArray[np.float64] | None
    indices: tuple[int, ...]

    @property
    def source(self) -> tuple[str, int | None]:
        """SOP Instance UID and frame number of the one source image; raises ValueError unless there is exactly one."""
        (item,) = self.sources
        number = item.get("ReferencedFrameNumber")
        return str(item.ReferencedSOPInstanceUID), None if number is None else int(number)


@dataclass(frozen=True, eq=False)
class SegFile:
    """A segmentation file: its data set without pixels, and its frames in order; pixel_bytes: length of Pixel Data."""

    path: Path
    data: Dataset
    frames: tuple[SegFrame, ...]
    pixel_bytes: int

    @property
    def is_labelmap(self) -> bool:
        """Whether the pixels are segment numbers, with all segments in one frame."""
        return bool(self.data.SegmentationType == "LABELMAP")

    @property
    def background(self) -> int | None:
        """The pixel value of a label map's background, by Pixel Padding Value (PS3.3 C.8.20.2.4)."""
        value = self.data.get("PixelPaddingValue") if self.is_labelmap else None
        return None if value is None else int(value)

    @property
    def segments(self) -> tuple[Dataset, ...]:
        """The described segments without the background."""
        return tuple(item for item in self.data.SegmentSequence if item.SegmentNumber != self.background)

    @property
    def sides(self) -> dict[int, Side]:
        """The side of each segment number, by the laterality code."""
        return {
            int(item.SegmentNumber): LATERALITY[
                item.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence[0].CodeValue
            ]
            for item in self.segments
        }

    def pixels(self) -> Iterator[NDArray[np.uint8]]:
        """Yield the decoded frames `(y, x)`, read from disk one by one where each begins on a byte boundary."""
        if self.is_labelmap or self.data.Rows * self.data.Columns % 8 == 0:
            return iter_pixels(self.path)
        # pydicom 3.0 decodes a single frame that begins within a byte wrongly, but all frames together correctly.
        return iter(pixel_array(self.path).reshape(-1, self.data.Rows, self.data.Columns))


def read_seg(path: Path) -> SegFile:
    """Read a segmentation without its pixels; raises one of MALFORMED if the file is not one."""
    data = dcmread(path, defer_size=PIXELS_STAY_ON_DISK)
    frames = tuple(_frame(groups) for groups in data.PerFrameFunctionalGroupsSequence)
    raw = dict(data.items())[
        PIXEL_DATA
    ]  # items() does not read deferred values; any other access would read the pixels
    return SegFile(path, data, frames, raw.length if isinstance(raw, RawDataElement) else 0)


def _frame(groups: Dataset) -> SegFrame:
    number = _found(lambda: int(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber))
    position = _found(lambda: np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float))
    sources = _found(lambda: tuple(s for d in groups.DerivationImageSequence for s in d.SourceImageSequence))
    indices = _found(lambda: tuple(np.atleast_1d(groups.FrameContentSequence[0].DimensionIndexValues).tolist()))
    return SegFrame(number, sources or (), position, indices or ())


def _found(look: Callable[[], Any]) -> Any:
    try:
        return look()
    except MALFORMED:
        return None
