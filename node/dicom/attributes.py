"""The attributes that the node reads, and their raw values as Python values."""

import re
from math import isfinite
from typing import Literal

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.tag import Tag
from pydicom.valuerep import TEXT_VR_DELIMS

# The attributes that are read, by keyword.
TAGS = {
    keyword: int(Tag(keyword))
    for keyword in (
        "SpecificCharacterSet", "ImageType", "SOPClassUID", "SOPInstanceUID", "AccessionNumber", "Modality",
        "StudyDescription", "SeriesDescription", "ContrastBolusAgent", "ContrastBolusAgentSequence", "BodyPartExamined",
        "SliceThickness", "ConvolutionKernel", "StudyInstanceUID", "SeriesInstanceUID", "AcquisitionNumber",
        "ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID", "ImagesInAcquisition",
        "NumberOfSeriesRelatedInstances", "NumberOfFrames", "Rows", "Columns", "PixelSpacing", "RescaleIntercept",
        "RescaleSlope", "PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "StudyDate",
        "ContrastBolusVolume", "ContrastBolusTotalDose", "ContrastBolusIngredient",
    )
}  # fmt: skip
WANTED = frozenset(TAGS.values())
ESCAPE = b"\x1b"
ESCAPE_SEQUENCE = re.compile(r"\x1b[ -/]*[0-~]")  # ISO 2022
MAX_TEXT = 64  # LO and SH are never longer
LARGEST_INTEGER = 2**31 - 1  # of an IS, PS3.5 6.2

Values = dict[int, bytes]
"""Raw values by tag."""


class AttributeReader:
    """Converts raw values to Python; an absent or invalid value is None or empty, which is judged later."""

    def __init__(self, values: Values, big_endian: bool) -> None:
        self._values = values
        self._order: Literal["big", "little"] = "big" if big_endian else "little"

    def _bytes(self, keyword: str) -> bytes:
        return self._values.get(TAGS[keyword], b"")

    def uid(self, keyword: str) -> str:
        """Return a UID without its padding."""
        return self._bytes(keyword).decode("ascii", "replace").rstrip("\0 ")

    def text(self, keyword: str) -> str:
        """Return a text, decoded, without padding and unprintable characters, 64 characters at most."""
        raw = self._bytes(keyword)
        # In ISO 2022 with multi-byte characters all bytes are those of ASCII, between escape sequences (PS3.5 6.1.2.5).
        value = raw.decode("ascii") if raw.isascii() and ESCAPE not in raw else self._decoded(raw)
        if not value.isprintable():
            value = ESCAPE_SEQUENCE.sub("", value)  # pydicom leaves some
            value = "".join(c for c in value if c.isprintable())
        return value.strip()[:MAX_TEXT]

    def _decoded(self, raw: bytes) -> str:
        names = self._bytes("SpecificCharacterSet").decode("ascii", "replace").strip("\0 ").split("\\")
        try:
            return decode_bytes(raw, convert_encodings(names), TEXT_VR_DELIMS)
        except (LookupError, ValueError):
            return raw.decode("ascii", "replace")

    def integer(self, keyword: str) -> int | None:
        """Return an integer string (IS)."""
        try:
            found = int(self._bytes(keyword).strip(b"\0 "))
        except ValueError:
            return None
        return found if abs(found) <= LARGEST_INTEGER else None

    def unsigned(self, keyword: str) -> int | None:
        """Return a 16 bit number (US)."""
        raw = self._bytes(keyword)
        return int.from_bytes(raw, self._order) if len(raw) == 2 else None

    def numbers(self, keyword: str, count: int) -> tuple[float, ...] | None:
        """Return `count` decimal strings (DS)."""
        try:
            found = tuple(float(part) for part in self._bytes(keyword).rstrip(b"\0 ").split(b"\\"))
        except ValueError:
            return None
        return found if len(found) == count and all(map(isfinite, found)) else None
