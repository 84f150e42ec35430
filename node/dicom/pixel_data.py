"""Where the pixel data of an object ends, or why the object is broken."""

from typing import Literal

from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from node.dicom.elements import PIXEL_DATA, UNDEFINED_LENGTH, Buffer, fragments_end
from node.errors import ObjectError, StoreStatus
from node.records.states import Reason


def end_of_pixels(data: Buffer, at: int, size: int, syntax: str, *, must_be_whole: bool) -> int:
    """Return where the pixel data that begins at `at` ends; `size` if that is nowhere before.

    Refuses an image without pixel data, or whose pixel data ends before its declared length (PS3.5 7.1), if it must be
    whole. size: of the whole data set; `data` may be its beginning only.
    """
    order: Literal["big", "little"] = "big" if syntax == ExplicitVRBigEndian else "little"
    group, element = (int.from_bytes(data[at + n : at + n + 2], order) for n in (0, 2))
    if group << 16 | element not in PIXEL_DATA:
        if must_be_whole:
            raise broken("it is an image, but has no pixel data: the object is incomplete")
        return size
    # Implicit: tag, 4 bytes of length. Explicit OB, OW, OF, OD: tag, VR, 2 bytes reserved, 4 bytes of length.
    start = at + 8 if syntax == ImplicitVRLittleEndian else at + 12
    length = int.from_bytes(data[start - 4 : start], order)
    if length == UNDEFINED_LENGTH:
        end = fragments_end(data, start)
        if end is None and must_be_whole:
            raise broken("its compressed pixel data has no end: the transfer was interrupted")
        return size if end is None else end
    if size - start < length and must_be_whole:
        raise broken(f"its pixel data has {max(size - start, 0)} of {length} bytes: the transfer was interrupted")
    return min(start + length, size)


def broken(what: str) -> ObjectError:
    """Return the error that refuses a broken object."""
    return ObjectError(Reason.BROKEN_OBJECT, f"the object is broken: {what}", StoreStatus.CANNOT_UNDERSTAND)
