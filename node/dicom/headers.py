"""Reads from a received file the attributes the node needs, or tells why the object is broken."""

import mmap
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from threading import Lock

from pydicom import Dataset, dcmread
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from node.dicom.attributes import TAGS, WANTED, AttributeReader, Values
from node.dicom.contrast import contrast_given
from node.dicom.data_set_start import data_set_start
from node.dicom.elements import UNDEFINED_LENGTH, Buffer, UnusualEncodingError, walk
from node.dicom.file_meta import decode_file_meta
from node.dicom.pixel_data import broken, end_of_pixels
from node.dicom.uids import CT_CLASSES, require_uid
from node.errors import ObjectError, StoreStatus
from node.records.instances import IDENTITY, Header
from node.records.states import Reason

BOMB_BYTES, BOMB_RATIO = 64_000_000, 200
"""A deflated data set that grows beyond so many bytes and by more than this factor is refused as an attack."""
MOST_INFLATED = 512 * 2**20
"""Bytes that any deflated data set may have, as in the segmenter: a thousand slices of 512 x 512."""
PYDICOM_BYTES = 1_000_000
"""How much of a data set pydicom parses."""
MOST_ITEMS = 20_000
"""Of sequences in what pydicom parses: it needs seconds and 80 MB of memory for a megabyte of empty items."""
ITEM_TAGS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")  # in both byte orders
ONE_AT_A_TIME = Lock()
"""So that the memory pydicom needs does not grow with the number of associations."""
NATIVE = {str(ExplicitVRLittleEndian): 12, str(ImplicitVRLittleEndian): 8}
"""Transfer syntaxes of plain pixel data, and the bytes from the beginning of that element to its value."""
UNCOMPRESSED = frozenset({*NATIVE, str(ExplicitVRBigEndian), str(DeflatedExplicitVRLittleEndian)})
PLAIN_EXPLICIT = b"\x08\0\0\0UL\4\0\0\0\0\0"
PLAIN_ELEMENTS = {
    str(ImplicitVRLittleEndian): b"\x08\0\0\0\4\0\0\0\0\0\0\0",
    str(ExplicitVRBigEndian): b"\0\x08\0\0UL\0\4\0\0\0\0",
}
"""An element of each encoding: pydicom tells by the first one whether the transfer syntax is as announced."""
SHORTEST_ELEMENT = 8  # bytes, PS3.5 7.1
FIRST_GROUP = 0x0008
"""Elements of lower groups do not belong into a data set."""
KEPT_INFLATED = 16_000_000  # only so much of a deflated data set is parsed


def file_header(path: Path) -> Header:
    """Read the header of a DICOM file. Raises ObjectError when it is broken or not a DICOM file."""
    with mapped(path) as content:
        try:
            meta = decode_file_meta(content)
        except UnusualEncodingError as error:
            raise broken(f"it is not a DICOM file: {error}") from error
        start = begin_of_data_set(content, meta.start, meta.transfer_syntax)
        return read_header(content, start, meta.transfer_syntax, meta.sop_class_uid, meta.sop_instance_uid)


def read_header(content: Buffer, start: int, syntax: str, sop_class_uid: str, sop_uid: str) -> Header:
    """Read the header of a file whose data set begins at `start`; check it against the C-STORE command.

    content: the whole file, with file meta information. Raises ObjectError with the reason and the status to answer:
    unreadable, incomplete, an invalid UID, or UIDs that differ from those of the command.
    """
    data, size, deflated_at = content, len(content), start
    if syntax == DeflatedExplicitVRLittleEndian:
        data, size = _inflated(content, start)
        start, syntax = 0, str(ExplicitVRLittleEndian)
    values, pixels_at = _values(data, start, syntax)
    header = _header(values, big_endian=syntax == ExplicitVRBigEndian)
    _require_uids_of_command(header, sop_class_uid, sop_uid)
    must_be_whole = bool(header.rows) or sop_class_uid in CT_CLASSES
    end = end_of_pixels(data, pixels_at, size, syntax, must_be_whole=must_be_whole)
    if end < size:
        is_all = size == len(data)
        behind, at = (data, end) if is_all else (_inflated(content, deflated_at, skip=end)[0], 0)
        _require_nothing_repeated(behind, at, syntax)
    return header


def header_ahead(piece: Buffer, syntax: str, sop_class_uid: str, sop_uid: str) -> tuple[Header, int] | None:
    """Read the header from the beginning of a data set, while the rest is still being received.

    Returns the header and the bytes of a data set that ends with its pixel data; None when the beginning is not enough
    to tell, or is not in a plain encoding. Raises ObjectError as `read_header` does.
    """
    if syntax not in NATIVE or int.from_bytes(piece[:2], "little") < FIRST_GROUP:
        return None
    try:
        values, at = walk(piece, 0, syntax == ExplicitVRLittleEndian, WANTED)
    except UnusualEncodingError:
        return None
    start = at + NATIVE[syntax]
    length = int.from_bytes(piece[start - 4 : start], "little")
    if start > len(piece) or length == UNDEFINED_LENGTH:
        return None
    header = _header(values, big_endian=False)
    _require_uids_of_command(header, sop_class_uid, sop_uid)
    return header, start + length


def pixels_at(content: Buffer, start: int, syntax: str) -> tuple[int, int]:
    """Return where the pixels of a file in one of the NATIVE syntaxes begin, and their length in bytes.

    Raises ObjectError when the data set cannot be read.
    """
    _, at = _values(content, start, syntax)
    begin = at + NATIVE[syntax]
    return begin, int.from_bytes(content[begin - 4 : begin], "little")


def rescaling(path: Path) -> tuple[tuple[float, ...] | None, ...]:
    """Return Rescale Slope and Intercept of a received file, which say what its pixels mean. Raises ObjectError."""
    with mapped(path) as content:
        meta = decode_file_meta(content)
        data, start, syntax = content, meta.start, meta.transfer_syntax
        if syntax == DeflatedExplicitVRLittleEndian:
            data, start, syntax = _inflated(content, start)[0], 0, str(ExplicitVRLittleEndian)
        values, _ = _values(data, start, syntax)
        read = AttributeReader(values, syntax == ExplicitVRBigEndian)
        return read.numbers("RescaleSlope", 1), read.numbers("RescaleIntercept", 1)


def begin_of_data_set(content: Buffer, start: int, syntax: str) -> int:
    """Return where the data set of a file begins behind what does not belong to it. Raises ObjectError."""
    big_endian, deflated = syntax == ExplicitVRBigEndian, syntax == DeflatedExplicitVRLittleEndian
    try:
        return data_set_start(content, start, big_endian=big_endian, deflated=deflated)
    except UnusualEncodingError as error:
        raise broken(f"its data set begins with {error}") from error


@contextmanager
def mapped(path: Path) -> Iterator[Buffer]:
    """Map a file into memory; only the pages that are read take any. Raises ObjectError if it is empty."""
    with path.open("rb") as file:
        try:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:
            raise broken("it is empty") from error
        with content:
            yield content


def _values(data: Buffer, start: int, syntax: str) -> tuple[Values, int]:
    """Return the raw values by tag and where the pixel data element begins."""
    if syntax != ExplicitVRBigEndian:
        try:
            return walk(data, start, syntax != ImplicitVRLittleEndian, WANTED)
        except UnusualEncodingError as unusual:
            # pydicom reads many invalid encodings, so it decides.
            return values_by_pydicom(data, start, syntax, unusual.tag)
    return values_by_pydicom(data, start, syntax)


def values_by_pydicom(data: Buffer, start: int, syntax: str, unusual: int | None = None) -> tuple[Values, int]:
    """Read the values with pydicom: slower, but it accepts unusual encodings. unusual: a tag, for messages."""
    ahead = _meta(syntax)
    try:
        with ONE_AT_A_TIME, BytesIO(ahead + bytes(data[start : start + PYDICOM_BYTES])) as file:
            if max(file.getvalue().count(item) for item in ITEM_TAGS) > MOST_ITEMS:
                raise broken(f"its sequences have no valid end and more than {MOST_ITEMS} items")
            dataset = dcmread(file, stop_before_pixels=True, specific_tags=list(WANTED))
            return _raw(dataset), start + file.tell() - len(ahead)
    except ObjectError:
        raise
    except Exception as error:
        # pydicom raises nearly any exception on malformed bytes; what it cannot read is broken.
        place = "" if unusual is None else f" at the element ({unusual >> 16:04X},{unusual & 0xFFFF:04X})"
        raise broken(f"its data set cannot be read{place} ({type(error).__name__})") from error


def _meta(syntax: str) -> bytes:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(syntax)
    file = DicomBytesIO()
    file.write(bytes(128) + b"DICM")
    write_file_meta_info(file, meta, enforce_standard=False)
    return file.getvalue()


def _raw(dataset: Dataset) -> Values:
    found = {tag: dataset.get_item(tag) for tag in WANTED if tag in dataset}
    return {tag: _raw_value(element) for tag, element in found.items() if element is not None}


def _raw_value(element: DataElement | RawDataElement) -> bytes:
    if isinstance(element, RawDataElement):
        return element.value or b""
    if element.VR == "SQ":
        return bytes(bool(element.value))
    values = element.value if element.VM > 1 else [element.value or ""]
    return "\\".join(map(str, values)).encode("ascii", "replace")  # pydicom converts the character set at once


def _inflated(content: Buffer, start: int, skip: int = 0) -> tuple[bytes, int]:
    """Inflate a data set (PS3.5 A.5); return the part of it from `skip` on that is parsed, and its whole size."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    kept, size, at = bytearray(), 0, start
    given = b""
    try:
        while not inflater.eof and (given or at < len(content)):
            if not given:
                given, at = bytes(content[at : at + 65536]), at + 65536
            piece = inflater.decompress(given, 1 << 20)
            given = inflater.unconsumed_tail
            kept += piece[max(skip - size, 0) :][: KEPT_INFLATED - len(kept)]
            size += len(piece)
            if size > MOST_INFLATED:
                raise broken(f"its deflated data set grows beyond {MOST_INFLATED // 2**20} MB; send it uncompressed")
            if size > max(BOMB_BYTES, BOMB_RATIO * (len(content) - start)):
                raise broken(f"its deflated data set grows by a factor of more than {BOMB_RATIO}")
    except zlib.error as error:
        raise broken("its deflated data set cannot be inflated") from error
    if not inflater.eof:
        raise broken("its deflated data set has no end: the transfer was interrupted")
    return bytes(kept), size


def _header(values: Values, *, big_endian: bool) -> Header:
    if TAGS["SOPClassUID"] not in values and TAGS["StudyInstanceUID"] not in values:
        raise broken("it has none of the attributes that every object has")
    read = AttributeReader(values, big_endian)
    return Header(
        study_uid=require_uid(read.uid("StudyInstanceUID"), "Study Instance UID"),
        series_uid=require_uid(read.uid("SeriesInstanceUID"), "Series Instance UID"),
        sop_uid=require_uid(read.uid("SOPInstanceUID"), "SOP Instance UID"),
        sop_class_uid=require_uid(read.uid("SOPClassUID"), "SOP Class UID"),
        modality=read.text("Modality"),
        accession=read.text("AccessionNumber"),
        study_description=read.text("StudyDescription"),
        series_description=read.text("SeriesDescription"),
        body_part=read.text("BodyPartExamined"),
        image_type=tuple(part.strip() for part in read.text("ImageType").split("\\") if part.strip()),
        frame_of_reference=read.text("FrameOfReferenceUID"),
        rows=read.unsigned("Rows"),
        columns=read.unsigned("Columns"),
        frames=read.integer("NumberOfFrames") or 1,
        position=_three(read.numbers("ImagePositionPatient", 3)),
        orientation=read.numbers("ImageOrientationPatient", 6),
        spacing=_two(read.numbers("PixelSpacing", 2)),
        rescale=TAGS["RescaleSlope"] in values and TAGS["RescaleIntercept"] in values,
        thickness=next(iter(read.numbers("SliceThickness", 1) or ()), None),
        kernel=read.text("ConvolutionKernel"),
        contrast=contrast_given(read, agents=bool(values.get(TAGS["ContrastBolusAgentSequence"]))),
        acquisition=read.integer("AcquisitionNumber"),
        images_in_acquisition=read.integer("ImagesInAcquisition"),
        series_instances=read.integer("NumberOfSeriesRelatedInstances"),
        identity=tuple(read.text(keyword) for keyword in IDENTITY),
    )


def _three(found: tuple[float, ...] | None) -> tuple[float, float, float] | None:
    return None if found is None else (found[0], found[1], found[2])


def _two(found: tuple[float, ...] | None) -> tuple[float, float] | None:
    return None if found is None else (found[0], found[1])


def _require_uids_of_command(header: Header, sop_class_uid: str, sop_uid: str) -> None:
    """Refuse an object whose UIDs differ from those of the C-STORE command."""
    for what, announced, found in (
        ("SOP Class UID", sop_class_uid, header.sop_class_uid),
        ("SOP Instance UID", sop_uid, header.sop_uid),
    ):
        if announced != found:
            sentence = f"its {what} differs between the C-STORE command and the data set"
            raise ObjectError(Reason.UID_MISMATCH, sentence, StoreStatus.MISMATCH)


def _require_nothing_repeated(data: Buffer, at: int, syntax: str) -> None:
    """Refuse an object that holds behind its pixel data, at `at`, attributes that stand before it (PS3.5 7.1).

    Readers of the file would take these, and see another object than the one recorded here.
    """
    length = len(data) - at
    if length < SHORTEST_ELEMENT:
        return
    if length <= PYDICOM_BYTES:
        data, at = PLAIN_ELEMENTS.get(syntax, PLAIN_EXPLICIT) + bytes(data[at:]), 0
    try:
        values, after = _values(data, at, syntax)
    except ObjectError as error:
        if length <= PYDICOM_BYTES and not any(data[-length:]):  # filled up with zeros
            return
        raise broken("what follows its pixel data cannot be read") from error
    if after > len(data):
        raise broken("what follows its pixel data has no end")
    if values or after < len(data):
        raise broken("attributes are repeated behind its pixel data")
