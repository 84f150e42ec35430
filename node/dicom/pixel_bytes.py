"""Whether two files hold the same image, as far as that can be told without decoding their pixels."""

import hashlib
from pathlib import Path

from pydicom.uid import (
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from node.dicom.elements import UnusualEncodingError
from node.dicom.file_meta import decode_file_meta
from node.dicom.headers import NATIVE, UNCOMPRESSED, mapped, pixels_at, rescaling
from node.errors import ObjectError

LOSSLESS = UNCOMPRESSED | {
    str(syntax)
    for syntax in (
        RLELossless, JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, HTJ2KLossless,
        HTJ2KLosslessRPCL,
    )
}  # fmt: skip
"""Transfer syntaxes between which pixels change their form only (PS3.5 A.4)."""


def pixel_digest(path: Path) -> bytes | None:
    """Return a digest of uncompressed little endian pixels; None for others, or when the file cannot be read."""
    try:
        with mapped(path) as content:
            meta = decode_file_meta(content)
            if meta.transfer_syntax not in NATIVE:
                return None
            begin, length = pixels_at(content, meta.start, meta.transfer_syntax)
            return hashlib.sha256(content[begin : begin + length]).digest()
    except (OSError, ObjectError, UnusualEncodingError):
        return None


def same_rescaling(first: Path, later: Path) -> bool:
    """Tell whether the pixels of two files mean the same HU if they are the same; False if one cannot be read."""
    try:
        return rescaling(first) == rescaling(later)
    except (OSError, ObjectError, UnusualEncodingError):
        return False
