"""Parse a DICOM file: with or without a preamble, inflated up to a limit, and with elements whose VR is not valid."""

import struct
import zlib
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_file_meta_info, read_partial
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, STANDARD_VR

# What pydicom raises for files that are not DICOM, are truncated (deflated ones included), or nest too deeply. A header
# is small: memory runs out only when a declared length is wrong.
UNREADABLE = (
    InvalidDicomError, BytesLengthException, OSError, EOFError, ValueError, KeyError, struct.error, zlib.error,
    RuntimeError, MemoryError,
)  # fmt: skip
PREAMBLE, PREFIX = 128, b"DICM"
PIXEL_DATA = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
MOST_INFLATED = 512 * 2**20
"""Bytes that a deflated data set may have: a thousand slices of 512 x 512."""
MOST_MENDED = 64  # elements without a valid VR in one data set
REPEATED = (("SOPClassUID", "MediaStorageSOPClassUID"), ("SOPInstanceUID", "MediaStorageSOPInstanceUID"))


class InflatedTooLargeError(ValueError):
    """A deflated data set is larger than MOST_INFLATED."""


class _InvalidVrError(Exception):
    """at: offset of the VR in the stream; tag: of its element; short: whether two bytes of length follow the VR."""

    def __init__(self, tag: int, at: int, short: bool) -> None:
        super().__init__()
        self.tag, self.at, self.short = tag, at, short


def parse_file(
    path: Path, *, before_pixels: bool = False, keywords: Sequence[str] = (), large: int | None = None
) -> Dataset:
    """Return a file's data set.

    before_pixels: stop at the pixel data. keywords: only these attributes. large: values of more bytes stay in the
    file. UIDs that the data set lacks are taken from the file meta information. Raises one of UNREADABLE.
    """
    with path.open("rb") as stream:
        begin = stream.read(PREAMBLE + len(PREFIX))
        has_preamble = begin.endswith(PREFIX) and len(begin) == PREAMBLE + len(PREFIX)
        if not has_preamble and not begins_like_a_data_set(begin):
            raise InvalidDicomError("neither a preamble nor a data set")
        if has_preamble:
            _require_small_enough(path)
        stream.seek(0)
        tags = [Tag(keyword) for keyword in keywords]
        dataset = _parsed(stream, lambda tag: before_pixels and tag in PIXEL_DATA, tags, large)
    for own, repeated in REPEATED:
        if not dataset.get(own) and (not keywords or own in keywords) and dataset.file_meta.get(repeated):
            setattr(dataset, own, dataset.file_meta.get(repeated))
    if not has_preamble:
        _require_identity(dataset)
    if "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta.TransferSyntaxUID = _syntax_of(dataset)
    return dataset


def begins_like_a_data_set(begin: bytes) -> bool:
    """Return whether bytes begin with file meta information, or an element of group 0008 in either byte order."""
    if len(begin) < 8:
        return False
    (group,) = struct.unpack_from("<H", begin)
    if group in (0x0800, 0x0002):
        return begin[4:6].decode("latin-1") in STANDARD_VR
    _, _, length = struct.unpack_from("<HHI", begin)
    return group == 0x0008 and (begin[4:6].decode("latin-1") in STANDARD_VR or length < 2**16)


def _require_identity(dataset: Dataset) -> None:
    """Raise InvalidDicomError unless forced reading found what each object has."""
    uid = dataset.get("SOPInstanceUID") or dataset.get("SeriesInstanceUID")
    if not UID(str(uid or "")).is_valid:
        raise InvalidDicomError("no preamble, and no UID of an instance or a series")


def _syntax_of(dataset: Dataset) -> UID:
    """Return the syntax in which a data set without file meta information was found to be written."""
    implicit, little = dataset.original_encoding
    if not little:
        return ExplicitVRBigEndian
    return ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian


def _require_small_enough(path: Path) -> None:
    """Raise InflatedTooLargeError for a deflated data set that grows beyond the limit (PS3.5 A.5)."""
    meta = read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    with path.open("rb") as stream:
        stream.seek(PREAMBLE + len(PREFIX) + 12 + meta.FileMetaInformationGroupLength)
        while not inflater.eof and (given := inflater.unconsumed_tail or stream.read(65536)):
            size += len(inflater.decompress(given, 2**20))
            if size > MOST_INFLATED:
                raise InflatedTooLargeError(f"the deflated data set has more than {MOST_INFLATED} bytes")


def _parsed(stream: BinaryIO, at_end: Callable[[int], bool], tags: list[BaseTag], large: int | None) -> Dataset:
    """Parse a stream; give elements without a valid VR the one that they have in the dictionary.

    As DCMTK does: a VR of two capital letters is a future one and has four bytes of length; anything else was written
    by a program that left the VR out, and has two. Private elements without a valid VR are dropped.
    """
    dropped: list[int] = []
    for _ in range(MOST_MENDED):
        try:
            dataset: Dataset = read_partial(
                stream, _checked(stream, at_end), defer_size=large, force=True, specific_tags=list(tags) or None
            )
        except _InvalidVrError as invalid:
            stream.seek(0)
            stream = stream if isinstance(stream, BytesIO) else BytesIO(stream.read())
            stream.getbuffer()[invalid.at : invalid.at + 2] = _vr_for(invalid)
            dropped.append(invalid.tag)
            stream.seek(0)
            continue
        for tag in dropped:
            if Tag(tag).is_private:
                dataset.pop(tag, None)
        return dataset
    raise ValueError(f"more than {MOST_MENDED} elements have no valid VR")


def _checked(stream: BinaryIO, at_end: Callable[[int], bool]) -> Callable[[BaseTag, str | None, int], bool]:
    """Return a stop condition that raises _InvalidVrError at an element of an explicit data set without a valid VR."""
    explicit = False

    def stop(tag: BaseTag, vr: str | None, _: int) -> bool:
        nonlocal explicit
        explicit = explicit or vr in STANDARD_VR
        if explicit and vr not in STANDARD_VR:
            raise _InvalidVrError(int(tag), stream.tell() - 4, short=vr is None)
        return at_end(tag)

    return stop


def _vr_for(invalid: _InvalidVrError) -> bytes:
    known = str(dictionary_VR(invalid.tag)) if dictionary_has_tag(invalid.tag) else ""
    fits = known in STANDARD_VR and (known not in EXPLICIT_VR_LENGTH_32) == invalid.short
    return (known if fits else "LT" if invalid.short else "UN").encode()


def drop_unreadable(dataset: Dataset) -> None:
    """Remove private elements and sequences that cannot be converted; what copies a header would stumble over them."""
    for tag in list(dataset.keys()):
        element = dataset.get_item(tag)
        if (element.tag.is_private or element.VR == "SQ") and not _converts(dataset, tag):
            del dataset[tag]


def _converts(dataset: Dataset, tag: BaseTag) -> bool:
    """Return whether an element and all items in it can be converted; pydicom converts a value on access."""
    try:
        element = dataset[tag]
        items = element.value if element.VR == "SQ" else []
        return all(_converts(item, each) for item in items for each in list(item.keys()))
    except (*UNREADABLE, TypeError, AttributeError, IndexError):
        return False
