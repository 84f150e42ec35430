"""The header of one image plane: an original CT image, or one frame of an enhanced multi-frame CT."""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage

from segmenter.errors import Reason, SegmenterError, Verdict
from segmenter.read.contrast import contrast_given
from segmenter.read.files import MOST_INFLATED, UNREADABLE, InflatedTooLargeError, parse_file
from segmenter.read.header_values import as_texts
from segmenter.read.identity import Identity, read_identity
from segmenter.read.image_kind import PLAIN, ImageKind, image_kind
from segmenter.read.pixel_format import LOSE, pixel_format

MULTI_FRAME = frozenset({EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage})
CT_CLASSES = MULTI_FRAME | {CTImageStorage}
SMALLEST_FRAME = 64  # bytes that a compressed frame has at least
LARGEST = 1e6
"""The largest plausible number in a CT header, mm or HU; larger ones would overflow later."""
IDENTITY = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
REQUIRED = (*IDENTITY, "FrameOfReferenceUID", "Rows", "Columns")
# Values of Image Type by which scanners mark what lies in the series of a scan, but is no part of it.
PLANNING = frozenset({"LOCALIZER", "SCOUT", "TOPOGRAM", "SURVIEW", "SCREEN SAVE", "SCREENSAVE", "DOSE", "DOSE_INFO"})
HU_NAMES = frozenset({"HU", "HOUNSFIELD", "HOUNSFIELDUNIT", "HOUNSFIELDUNITS"})
# The Defined Terms of Rescale Type (PS3.3 C.11.1.1.2), which a sentence may repeat.
RESCALE_TYPES = frozenset({"OD", "HU", "US", "MGML", "Z_EFF", "ED", "EDW", "HU_MOD", "PCT"})
UNSPECIFIED = "US"  # the Defined Term of Rescale Type for unspecified units (PS3.3 C.11.1.1.2)
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
    were once compressed with loss. identity: whose image it is. contrast: the header says that contrast medium was
    given. unspecified: Rescale Type does not say that the values are HU. kind: what the values show.
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
    identity: Identity = field(default=Identity(), repr=False)
    contrast: bool = False
    unspecified: bool = False
    kind: ImageKind = PLAIN

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
        return parse_file(path, before_pixels=True)
    except InflatedTooLargeError as error:
        raise SegmenterError(
            Reason.UNREADABLE,
            f"a deflated file grows beyond {MOST_INFLATED // 2**20} MB when it is inflated: send it uncompressed",
        ) from error
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
    if sop_class not in MULTI_FRAME:
        _require_one_frame(header, path)
    try:
        if sop_class in MULTI_FRAME:
            return [_slice(path, header, groups, number) for number, groups in _frames(header)]
        return [_slice(path, header, [header], None)]
    except (*UNREADABLE, TypeError, IndexError, AttributeError) as error:
        raise SegmenterError(
            Reason.UNREADABLE,
            f"{_name(header)} has {_invalid_value(header) or 'a value that does not fit its VR'}: "
            "correct it at its source and send the series again",
        ) from error


def _require_one_frame(header: Dataset, path: Path) -> None:
    """Refuse an image of the plain CT class that holds many frames: it has one position for all of them.

    A number of frames that the file is too small for is wrong; decoding the pixels tells.
    """
    frames = number_of(header, "NumberOfFrames") or 1
    if 1 < frames < path.stat().st_size / SMALLEST_FRAME:
        raise SegmenterError(
            Reason.MISSING_GEOMETRY,
            f"{_name(header)} is one object of CT Image Storage with {frames:.0f} frames, but that class holds one "
            "frame (PS3.3 A.3), so the positions of the others are unknown: send Enhanced CT, or one object per slice",
        )


def _invalid_value(header: Dataset) -> str:
    """Describe the first value of a header, or of its items, that breaks its VR; empty if none does.

    Only a value that looks like a number is quoted: any other text could be a patient's.
    """
    for tag in header.keys():  # noqa: SIM118 - a data set iterates its values, and would decode them
        raw = getattr(header.get_item(tag), "value", None)
        try:
            element = header[tag]
            found = next(filter(None, map(_invalid_value, element.value or ())), "") if element.VR == "SQ" else ""
            if element.VR in ("DS", "IS"):
                list(map(float, as_texts(element.value)))
        except (*UNREADABLE, TypeError, NotImplementedError) as error:
            found = _describe_invalid(int(tag), raw, error)
        if found:
            return found
    return ""


def _describe_invalid(tag: int, raw: Any, error: BaseException) -> str:
    keyword = keyword_for_tag(tag) or "a private element"
    text = raw.decode("ascii", "replace").strip("\0 ") if isinstance(raw, bytes) else "\\".join(as_texts(raw))
    shown = f" {text}" if re.fullmatch(r"[0-9.,+\-\\ ]{1,40}", text) else ""
    rule = {
        "DS": "a number with a decimal point, not a comma",
        "IS": "a whole number from -2147483648 to 2147483647",
    }.get(dictionary_VR(tag) if dictionary_has_tag(tag) else "", f"what its VR allows ({type(error).__name__})")
    return f"an invalid value{shown} in {keyword} ({tag >> 16:04X},{tag & 0xFFFF:04X}): PS3.5 6.2 asks for {rule}"


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

    localiser = _is_planning(header.get("ImageType"), find("FrameType"))
    missing = [keyword for keyword in (IDENTITY if localiser else REQUIRED) if not header.get(keyword)]
    if missing:
        raise SegmenterError(Reason.MISSING_GEOMETRY, f"{_name(header)} lacks {', '.join(missing)}")
    slope, intercept, unit = (1.0, 0.0, "HU") if localiser else _rescale(header, find)
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
        identity=read_identity(header),
        contrast=contrast_given(header, groups),
        unspecified=unit == UNSPECIFIED,
        kind=PLAIN if localiser else image_kind(groups),
    )


def _is_planning(*types: Any) -> bool:
    """Tell whether Image Type or Frame Type marks a localiser or a page, which is no part of the scan."""
    words = [word.upper() for kind in types for word in as_texts(kind)]
    return any(word in PLANNING or "LOCALIZER" in word for word in words)


def _marks(header: Dataset, find: Callable[[str], Any]) -> tuple[str, ...]:
    """Return the acquisition, phase and stack of a plane, and the multi-frame object it belongs to."""
    marks = []
    for name, keywords in STACK_MARKS:
        value = next((found for found in map(find, keywords) if found is not None), None)
        marks.append("" if value is None else f"{name} {_number_for(value)}")
    # A volume too large for one object is split into a concatenation of several (PS3.3 C.7.6.16.2.2.4).
    many = header.SOPClassUID in MULTI_FRAME
    return (*marks, f"object {header.get('ConcatenationUID') or header.SOPInstanceUID}" if many else "")


def _number_for(value: Any) -> str:
    """Return a mark's value if it is a number, else one that stands for it: a sentence must not quote its words."""
    text = str(value).strip()
    return text if text.isascii() and text.isdigit() and len(text) <= 16 else f"#{crc32(text.encode()):08x}"


def _rescale(header: Dataset, find: Callable[[str], Any]) -> tuple[float, float, str]:
    """Return slope, intercept and unit, HU or US, of the Modality LUT (PS3.3 C.11.1.1.2), which must give HU.

    HU may be spelled out. Whether unspecified units (US) are HU, the pixels must show.
    """
    slope, intercept, kind = (find(k) for k in ("RescaleSlope", "RescaleIntercept", "RescaleType"))
    sound = slope is not None and intercept is not None and float(slope) != 0
    if not sound or not abs(float(slope)) + abs(float(intercept)) <= LARGEST:
        raise SegmenterError(
            Reason.MISSING_RESCALE,
            f"{_name(header)} has no valid rescale slope and intercept: its pixel values cannot be converted to HU",
        )
    unit = re.sub(r"[^A-Z]", "", str("HU" if kind is None else kind).upper())
    if unit in HU_NAMES:
        unit = "HU"
    elif unit != UNSPECIFIED:
        # Never the words of a header: they may be anybody's.
        named = f"RescaleType {kind}" if kind in RESCALE_TYPES else "a RescaleType that the standard does not define"
        raise SegmenterError(Reason.NOT_HU, f"{_name(header)} has {named}: expected HU")
    return float(slope), float(intercept), unit


def _name(header: Dataset) -> str:
    """Return a name of the image for messages, without patient data."""
    return f"image {_known(header, 'SOPInstanceUID') or 'without SOP Instance UID'}"


def _known(header: Dataset, keyword: str) -> Any:
    """Return a value, empty when it cannot be read: pydicom decodes it only now, and its VR may be wrong."""
    try:
        return header.get(keyword, "")
    except UNREADABLE:
        return ""
