"""The header of one image plane: an original CT image, or one frame of an enhanced multi-frame CT."""

import math
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage

from segmenter.errors import Reason, SegmenterError, Verdict
from segmenter.read.pixel_format import LOSE, pixel_format

MULTI_FRAME = frozenset({EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage})
CT_CLASSES = MULTI_FRAME | {CTImageStorage}
# What pydicom raises for files that are not DICOM, are truncated (deflated ones included), or nest too deeply. A header
# is small: memory runs out only when a declared length is wrong.
UNREADABLE = (
    InvalidDicomError, BytesLengthException, OSError, EOFError, ValueError, KeyError, struct.error, zlib.error,
    RuntimeError, MemoryError,
)  # fmt: skip
LARGEST = 1e6
"""The largest plausible number in a CT header, mm or HU; larger ones would overflow later."""
IDENTITY = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
REQUIRED = (*IDENTITY, "FrameOfReferenceUID", "Rows", "Columns")
# What distinguishes the stacks of one series: the name for messages, and the keywords (enhanced, single-frame).
STACK_MARKS = (
    ("acquisition", ("FrameAcquisitionNumber", "AcquisitionNumber")),
    ("phase", ("TemporalPositionIndex", "TemporalPositionIdentifier")),
    ("stack", ("StackID",)),
)


@dataclass(frozen=True, eq=False)
class Slice:
    """Position of one plane of pixels and the meaning of its values.

    frame: 1-based frame number in a multi-frame object, None in a single-frame one. spacing, orientation,
    position: the source's own decimal strings (row and column spacing in mm; PS3.3 C.7.6.2.1.1), so that
    results can repeat them exactly; empty for a localiser, which is not used. slope, intercept: stored value -> HU.
    marks: what the plane belongs to according to the header, such as "acquisition 2": one for each of STACK_MARKS and
    one for the object, empty where the header has no value. gantry: the tilt in the header, degrees. lossy: the pixels
    were once compressed with loss.
    """

    path: Path
    frame: int | None
    sop_class_uid: str
    sop_instance_uid: str
    series_uid: str
    frame_of_reference_uid: str
    rows: int
    columns: int
    spacing: tuple[str, ...]
    orientation: tuple[str, ...]
    position: tuple[str, ...]
    slope: float
    intercept: float
    localiser: bool
    marks: tuple[str, ...] = ()
    gantry: float | None = None
    lossy: bool = False

    @property
    def point(self) -> NDArray[np.float64]:
        """Centre of the first voxel, LPS mm."""
        return np.array(self.position, float)

    @property
    def axes(self) -> NDArray[np.float64]:
        """Directions `(2, 3)`: along a row (columns grow), along a column (rows grow)."""
        return np.array(self.orientation, float).reshape(2, 3)


def read_header(path: Path) -> Dataset:
    """Read a file's data set up to the pixels; raises SegmenterError when it is not DICOM or is truncated."""
    try:
        return dcmread(path, stop_before_pixels=True)
    except UNREADABLE as error:
        raise SegmenterError(
            Reason.UNREADABLE,
            f"a file cannot be read as DICOM ({type(error).__name__}): send the series again",
        ) from error


def number_of(header: Dataset, keyword: str) -> float | None:
    """Return a number of a header; None when it is absent, multi-valued, or not a finite number."""
    try:
        return _finite(header.get(keyword))
    except (ValueError, NotImplementedError, BytesLengthException):
        return None


def _finite(value: Any) -> float | None:
    try:
        number = float(value)
    except (ValueError, TypeError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def read_slices(path: Path) -> list[Slice]:
    """Return the planes of one CT file.

    Raises SegmenterError for a file that is not a CT image, has no position in the patient, or cannot be read in HU.
    """
    header = read_header(path)
    sop_class = str(_known(header, "SOPClassUID"))
    if sop_class not in CT_CLASSES:
        modality = _known(header, "Modality")
        raise SegmenterError(
            Reason.NOT_CT,
            f"only CT images can be segmented, not modality {modality} of SOP class {sop_class or '?'}",
            Verdict.DECLINED,
        )
    try:
        if sop_class in MULTI_FRAME:
            return [_slice(path, header, groups, number) for number, groups in _frames(header)]
        return [_slice(path, header, [header], None)]
    except (*UNREADABLE, TypeError, IndexError, AttributeError) as error:
        raise SegmenterError(
            Reason.UNREADABLE,
            f"{_name(header)} has a value that does not fit its VR ({type(error).__name__}): send the series again",
        ) from error


def _frames(header: Dataset) -> Iterator[tuple[int, list[Dataset]]]:
    """Yield each frame's number and its functional group items, own before shared (PS3.3 C.7.6.16)."""
    own = list(header.get("PerFrameFunctionalGroupsSequence") or [])
    shared = list(header.get("SharedFunctionalGroupsSequence") or [])
    if not own or len(own) != int(header.get("NumberOfFrames") or 0):
        raise SegmenterError(
            Reason.MISSING_GEOMETRY,
            f"{_name(header)} describes {len(own)} frames, but its NumberOfFrames is {header.get('NumberOfFrames')}",
        )
    for number, frame in enumerate(own, start=1):
        macros = [element for group in (frame, *shared) for element in group if element.VR == "SQ"]
        yield number, [item for macro in macros for item in macro.value] + [header]


def _slice(path: Path, header: Dataset, groups: list[Dataset], frame: int | None) -> Slice:
    """Read one plane; `groups` are the data sets in which a keyword is looked up, nearest first."""

    def find(keyword: str) -> Any:
        return next((item[keyword].value for item in groups if item.get(keyword) not in (None, "")), None)

    def texts(keyword: str, count: int) -> tuple[str, ...]:
        values = tuple(str(value).strip() for value in find(keyword) or ())
        if len(values) != count or not all(abs(float(value)) <= LARGEST for value in values):
            raise SegmenterError(
                Reason.MISSING_GEOMETRY,
                f"{_name(header)} needs {count} valid numbers in {keyword}, it has {len(values)} values",
            )
        return values

    localiser = "LOCALIZER" in f"{header.get('ImageType')} {find('FrameType')}"
    missing = [keyword for keyword in (IDENTITY if localiser else REQUIRED) if not header.get(keyword)]
    if missing:
        raise SegmenterError(Reason.MISSING_GEOMETRY, f"{_name(header)} lacks {', '.join(missing)}")
    slope, intercept = (1.0, 0.0) if localiser else _rescale(header, find)
    if not localiser:
        pixel_format(header, _name(header))
    return Slice(
        path=path,
        frame=frame,
        sop_class_uid=str(header.SOPClassUID),
        sop_instance_uid=str(header.SOPInstanceUID),
        series_uid=str(header.SeriesInstanceUID),
        frame_of_reference_uid=str(header.get("FrameOfReferenceUID", "")),
        rows=int(header.get("Rows") or 0),
        columns=int(header.get("Columns") or 0),
        spacing=() if localiser else texts("PixelSpacing", 2),
        orientation=() if localiser else texts("ImageOrientationPatient", 6),
        position=() if localiser else texts("ImagePositionPatient", 3),
        slope=slope,
        intercept=intercept,
        localiser=localiser,
        marks=_marks(header, find),
        gantry=_finite(find("GantryDetectorTilt")),
        lossy=str(header.get("LossyImageCompression")) == "01" or header.file_meta.get("TransferSyntaxUID") in LOSE,
    )


def _marks(header: Dataset, find: Callable[[str], Any]) -> tuple[str, ...]:
    """Return the acquisition, phase and stack of a plane, and the multi-frame object it belongs to."""
    marks = []
    for name, keywords in STACK_MARKS:
        value = next((found for found in map(find, keywords) if found is not None), None)
        marks.append("" if value is None else f"{name} {value}"[:40])
    # A volume too large for one object is split into a concatenation of several (PS3.3 C.7.6.16.2.2.4).
    many = header.SOPClassUID in MULTI_FRAME
    return (*marks, f"object {header.get('ConcatenationUID') or header.SOPInstanceUID}" if many else "")


def _rescale(header: Dataset, find: Callable[[str], Any]) -> tuple[float, float]:
    """Return slope and intercept of the Modality LUT (PS3.3 C.11.1.1.2), which must give HU."""
    slope, intercept, kind = (find(k) for k in ("RescaleSlope", "RescaleIntercept", "RescaleType"))
    sound = slope is not None and intercept is not None and float(slope) != 0
    if not sound or not abs(float(slope)) + abs(float(intercept)) <= LARGEST:
        raise SegmenterError(
            Reason.MISSING_RESCALE,
            f"{_name(header)} has no valid rescale slope and intercept: its pixel values cannot be converted to HU",
        )
    if kind is not None and str(kind) != "HU":
        raise SegmenterError(Reason.NOT_HU, f"{_name(header)} has RescaleType {kind}: expected HU")
    return float(slope), float(intercept)


def _name(header: Dataset) -> str:
    """Return a name of the image for messages, without patient data."""
    return f"image {_known(header, 'SOPInstanceUID') or 'without SOP Instance UID'}"


def _known(header: Dataset, keyword: str) -> Any:
    """Return a value, empty when it cannot be read: pydicom decodes it only now, and its VR may be wrong."""
    try:
        return header.get(keyword, "")
    except UNREADABLE:
        return ""
