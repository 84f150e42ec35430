"""Bytes of an arriving object -> the few attributes the node needs, or why the object is broken."""

import math
from collections.abc import Callable
from io import BytesIO
from typing import Any, Literal, TypeVar

from pydicom import Dataset, dcmread
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian

from node.errors import Answer, ObjectError
from node.ledger.records import Header
from node.states import Reason
from node.uids import CT_CLASSES, require_uid

T = TypeVar("T")

KEYWORDS = [
    "SpecificCharacterSet", "ImageType", "SOPClassUID", "SOPInstanceUID", "AccessionNumber", "Modality",
    "StudyDescription", "SeriesDescription", "BodyPartExamined", "StudyInstanceUID", "SeriesInstanceUID",
    "ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID", "NumberOfFrames", "Rows", "Columns",
    "PixelSpacing", "RescaleIntercept", "RescaleSlope",
]  # fmt: skip
PIXEL_DATA = {Tag("PixelData"), Tag("FloatPixelData"), Tag("DoubleFloatPixelData")}
UNDEFINED_LENGTH = 0xFFFFFFFF
SEQUENCE_END = b"\xfe\xff\xdd\xe0"  # Sequence Delimitation Item, always little endian in encapsulated pixel data
MAX_TEXT = 64  # LO and SH are never longer


def read_header(content: bytes, sop_class_uid: str, sop_uid: str) -> Header:
    """Read the header of a DICOM file and check it against the C-STORE command that brought it.

    Raises ObjectError with the reason and the status to answer: unreadable, incomplete, an invalid UID, or other UIDs
    than the command said.
    """
    file = BytesIO(content)
    try:
        dataset = dcmread(file, stop_before_pixels=True, specific_tags=KEYWORDS)
        header = _header(dataset)
    except ObjectError:
        raise
    except Exception as error:
        # pydicom meets hostile bytes with nearly any exception; what it cannot read is broken.
        raise _broken(f"its data set cannot be read ({type(error).__name__})") from error
    for what, said, found in (
        ("SOP Class UID", sop_class_uid, header.sop_class_uid),
        ("SOP Instance UID", sop_uid, header.sop_uid),
    ):
        if said != found:
            sentence = f"its {what} differs between the C-STORE command and the data set"
            raise ObjectError(Reason.UID_MISMATCH, sentence, Answer.MISMATCH)
    is_image = header.rows or sop_class_uid in CT_CLASSES
    # Deflated bytes that break off do not inflate, so reading them has failed already.
    if is_image and dataset.file_meta.TransferSyntaxUID != DeflatedExplicitVRLittleEndian:
        _require_whole_pixels(content, file.tell(), dataset)
    return header


def _header(dataset: Dataset) -> Header:
    if "SOPClassUID" not in dataset and "StudyInstanceUID" not in dataset:
        raise _broken("its bytes hold none of the attributes every object has")
    return Header(
        study_uid=require_uid(str(dataset.get("StudyInstanceUID", "")), "Study Instance UID"),
        series_uid=require_uid(str(dataset.get("SeriesInstanceUID", "")), "Series Instance UID"),
        sop_uid=require_uid(str(dataset.get("SOPInstanceUID", "")), "SOP Instance UID"),
        sop_class_uid=require_uid(str(dataset.get("SOPClassUID", "")), "SOP Class UID"),
        modality=_text(dataset, "Modality"),
        accession=_text(dataset, "AccessionNumber"),
        study_description=_text(dataset, "StudyDescription"),
        series_description=_text(dataset, "SeriesDescription"),
        body_part=_text(dataset, "BodyPartExamined"),
        image_type=tuple(_read(dataset, "ImageType", lambda v: [str(x) for x in v]) or ()),
        frame_of_reference=_text(dataset, "FrameOfReferenceUID"),
        rows=_read(dataset, "Rows", int),
        columns=_read(dataset, "Columns", int),
        frames=_read(dataset, "NumberOfFrames", int) or 1,
        position=_numbers(dataset, "ImagePositionPatient", 3),
        orientation=_numbers(dataset, "ImageOrientationPatient", 6),
        spacing=_numbers(dataset, "PixelSpacing", 2),
        rescale="RescaleSlope" in dataset and "RescaleIntercept" in dataset,
    )


def _read(dataset: Dataset, keyword: str, convert: Callable[[Any], T]) -> T | None:
    """Return an attribute, or None when it is absent, empty or no sense: what that means is decided later."""
    try:
        value = dataset.get(keyword)
        return None if value is None or value == "" else convert(value)
    except (ValueError, TypeError, LookupError, OverflowError, AttributeError):
        return None


def _text(dataset: Dataset, keyword: str) -> str:
    value = _read(dataset, keyword, str) or ""
    return "".join(c for c in value if c.isprintable()).strip()[:MAX_TEXT]


def _numbers(dataset: Dataset, keyword: str, count: int) -> Any:
    found = _read(dataset, keyword, lambda value: tuple(float(v) for v in value))
    return found if found is not None and len(found) == count and all(map(math.isfinite, found)) else None


def _require_whole_pixels(content: bytes, at: int, dataset: Dataset) -> None:
    """Refuse an image without pixel data, or whose pixel data ends before its declared length (PS3.5 7.1)."""
    syntax = dataset.file_meta.TransferSyntaxUID
    order: Literal["little", "big"] = "little" if syntax.is_little_endian else "big"
    group, element = (int.from_bytes(content[at + n : at + n + 2], order) for n in (0, 2))
    if Tag(group, element) not in PIXEL_DATA:
        raise _broken("it is an image, but has no pixel data: the transfer broke off, or the object is incomplete")
    # Implicit: tag, 4 bytes of length. Explicit OB, OW, OF, OD: tag, VR, 2 bytes reserved, 4 bytes of length.
    start = at + 8 if syntax == ImplicitVRLittleEndian else at + 12
    length = int.from_bytes(content[start - 4 : start], order)
    there = len(content) - start
    if length == UNDEFINED_LENGTH:
        if content.find(SEQUENCE_END, start) < 0:
            raise _broken("its compressed pixel data has no end: the transfer broke off")
    elif there < length:
        raise _broken(f"its pixel data has {max(there, 0)} of {length} bytes: the transfer broke off")


def _broken(what: str) -> ObjectError:
    return ObjectError(Reason.BROKEN_OBJECT, f"the object is broken: {what}", Answer.CANNOT_UNDERSTAND)
