"""Reads raw values from the top level of an encoded data set (PS3.5 7.1); unusual encodings are left to pydicom.

A slice has some hundred elements and two dozen are needed, so this takes a tenth of the time of a full parser.
"""

from collections.abc import Collection
from mmap import mmap
from struct import Struct, error

Buffer = bytes | memoryview | mmap

UNDEFINED_LENGTH = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PIXEL_DATA = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
SHORT_FORM = frozenset({
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS",
    b"ST", b"TM", b"UI", b"UL", b"US",
})  # fmt: skip
LONG_FORM = frozenset({
    b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV",
})  # fmt: skip
MAX_DEPTH = 32
MAX_VALUE = 4096  # bytes of a wanted value that are read: no valid one is as long
EXPLICIT = Struct("<HH2sH").unpack_from
IMPLICIT = Struct("<HHI").unpack_from
LENGTH = Struct("<I").unpack_from


class UnusualEncodingError(Exception):
    """The bytes are not a plain little endian data set, which is all that `walk` understands.

    tag: the element at the top level where that was found, None before the first.
    """

    def __init__(self, what: str, tag: int | None = None) -> None:
        super().__init__(what)
        self.tag = tag


def walk(data: Buffer, at: int, explicit: bool, wanted: Collection[int]) -> tuple[dict[int, bytes], int]:
    """Return the raw values of the wanted tags and where the pixel data element begins (the end, if there is none).

    data: the bytes of a file; at: where its data set begins; explicit: Explicit VR, else Implicit, both little endian.
    Of a sequence of undefined length the value is its first eight bytes. Raises UnusualEncodingError.
    """
    values: dict[int, bytes] = {}
    end, tag = len(data), None
    try:
        while at < end:
            # If the first element has no valid VR, the transfer syntax is not the announced one.
            tag, vr, length, start = _element(data, at, explicit, any_vr=tag is not None)
            if tag in PIXEL_DATA:
                return values, at
            after = start + length if length != UNDEFINED_LENGTH else _sequence_end(data, start, vr, explicit, 0)
            if after > end:
                raise UnusualEncodingError("a value reaches beyond the end", tag)
            if tag in wanted:
                values[tag] = bytes(data[start : min(after, start + (8 if length == UNDEFINED_LENGTH else MAX_VALUE))])
            at = after
    except error as fault:
        raise UnusualEncodingError("the bytes end within an element", tag) from fault
    except UnusualEncodingError as fault:
        raise UnusualEncodingError(str(fault), tag) from fault
    return values, at


def _element(data: Buffer, at: int, explicit: bool, any_vr: bool = False) -> tuple[int, bytes, int, int]:
    """Return tag, VR (empty when implicit), length and start of the value of the element at `at`.

    any_vr: read an element whose VR is not valid as DCMTK does: two capital letters are a future VR with four bytes of
    length (PS3.5 7.1.2); anything else (NULs, `??`) was written by a program without one, and has two.
    """
    if not explicit:
        group, element, length = IMPLICIT(data, at)
        return group << 16 | element, b"", length, at + 8
    group, element, vr, length = EXPLICIT(data, at)
    if vr in SHORT_FORM:
        return group << 16 | element, vr, length, at + 8
    if vr not in LONG_FORM and not any_vr:
        raise UnusualEncodingError("an unknown VR")
    if vr not in LONG_FORM and not (vr.isalpha() and vr.isupper()):
        return group << 16 | element, vr, length, at + 8
    return group << 16 | element, vr, LENGTH(data, at + 8)[0], at + 12


def _sequence_end(data: Buffer, at: int, vr: bytes, explicit: bool, depth: int) -> int:
    """Return where a sequence of undefined length ends whose first item is at `at` (PS3.5 7.5)."""
    if depth > MAX_DEPTH or (explicit and vr not in {b"SQ", b"UN"}):
        raise UnusualEncodingError("a value of undefined length that is not a plain sequence")
    explicit = explicit and vr == b"SQ"  # the content of a UN is Implicit VR (PS3.5 6.2.2)
    while True:
        group, element, length = IMPLICIT(data, at)
        tag, at = group << 16 | element, at + 8
        if tag == SEQUENCE_END:
            return at
        if tag != ITEM:
            raise UnusualEncodingError("a sequence without items")
        at = at + length if length != UNDEFINED_LENGTH else _item_end(data, at, explicit, depth)


def _item_end(data: Buffer, at: int, explicit: bool, depth: int) -> int:
    while True:
        group, element, _ = IMPLICIT(data, at)
        if group << 16 | element == ITEM_END:
            return at + 8
        _, vr, length, start = _element(data, at, explicit)
        at = start + length if length != UNDEFINED_LENGTH else _sequence_end(data, start, vr, explicit, depth + 1)


def fragments_end(data: Buffer, at: int) -> int | None:
    """Return where encapsulated pixel data ends whose first item is at `at` (PS3.5 A.4), None if it does not end."""
    end = len(data)
    while at + 8 <= end:
        group, element, length = IMPLICIT(data, at)
        tag, at = group << 16 | element, at + 8
        if tag == SEQUENCE_END:
            return at
        if tag != ITEM or length == UNDEFINED_LENGTH:
            return None
        at += length
    return None
