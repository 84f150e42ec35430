"""The header of a compressed frame, read before a decoder is given the frame: a decoder allocates what it says."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from pydicom.uid import RLELossless

JPEG_FAMILY = "1.2.840.10008.1.2.4."
JPEG_2000 = frozenset(JPEG_FAMILY + number for number in ("90", "91", "201", "202", "203"))
END_OF_IMAGE = b"\xff\xd9"  # EOI of JPEG and JPEG-LS, EOC of JPEG 2000
START_OF_STREAM, SIZE_MARKER = b"\xff\x4f", b"\xff\x51"  # SOC, SIZ (ISO 15444-1, A.4.1 and A.5.1)
START_OF_DATA = b"\xff\x93"  # SOD
JP2_SIGNATURE = b"\0\0\0\x0cjP  "
FRAME_MARKERS = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}  # SOF of JPEG and JPEG-LS
ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length
SCAN, HIERARCHY = 0xDA, 0xDE  # SOS; DHP, behind which frames of other sizes follow
MOST_TILES = 4096
MOST_GROWTH, MOST_EXTRA = 2, 65536
"""A stream has at most so many times the bytes of its pixels, and so many more for its headers."""
MOST_PIXELS = 4096 * 4096  # of one frame


class PixelError(ValueError):
    """Pixels that are not given to a decoder; the message says why, and completes "the pixels of image X"."""


@dataclass(frozen=True)
class Layout:
    """What the header of an image says about each frame."""

    rows: int
    columns: int
    samples: int
    allocated: int

    @property
    def size(self) -> int:
        """Bytes of one frame when it is decoded."""
        return self.rows * self.columns * self.samples * ((self.allocated + 7) // 8)


def require_plausible(layout: Layout) -> None:
    """Raise PixelError for frames larger than any CT has."""
    if layout.rows * layout.columns > MOST_PIXELS:
        raise PixelError(f"would be {layout.rows} x {layout.columns}, more than a CT image has")


def require_sound(stream: bytes, syntax: str, layout: Layout) -> None:
    """Raise PixelError for a frame that is truncated, or whose own header differs from that of the image."""
    if len(stream) > MOST_GROWTH * layout.size + MOST_EXTRA:
        raise PixelError(f"have {len(stream)} bytes compressed, but only {layout.size} without compression")
    try:
        if syntax == RLELossless:
            _require_segments(stream, layout)
        elif syntax.startswith(JPEG_FAMILY):
            begins = _jpeg_2000(stream, layout) if syntax in JPEG_2000 else _jpeg(stream, layout)
            # Coded data cannot hold the marker (ISO 10918-1 B.1.1.5, ISO 15444-1 A.1.4); padding may follow it.
            if stream.find(END_OF_IMAGE, begins) < 0:
                raise PixelError("end before the compressed stream does: the file is truncated; send the image again")
    except (struct.error, IndexError) as error:
        raise PixelError("end within the header of the compressed stream; send the image again") from error


def _require_segments(stream: bytes, layout: Layout) -> None:
    """Check an RLE header (PS3.5 G.5): one segment for each byte of each sample, in ascending order."""
    count, *offsets = struct.unpack_from("<16I", stream)
    expected = layout.samples * layout.allocated // 8
    if count != expected:
        raise PixelError(f"have {count} RLE segments, their header calls for {expected}")
    used = offsets[:count]
    if used != sorted(used) or used[0] < 64 or used[-1] >= len(stream):
        raise PixelError("have an invalid RLE header; send the image again")


def _jpeg(stream: bytes, layout: Layout) -> int:
    """Check the header of a JPEG or JPEG-LS stream; return where its coded data begin."""
    frame = False
    for marker, at in _segments(stream):
        if marker == HIERARCHY:
            raise PixelError("are a hierarchical JPEG stream, which DICOM does not have")
        if marker in FRAME_MARKERS:
            bits, rows, columns, samples = struct.unpack_from(">BHHB", stream, at + 2)
            _require_same(layout, (rows, columns, samples, bits))
            frame = True
        if marker == SCAN:
            if not frame:
                raise PixelError("have a JPEG stream without a frame header")
            return at
    raise AssertionError("the segments do not end before a scan")


def _segments(stream: bytes) -> Iterator[tuple[int, int]]:
    """Yield marker and offset of the length of each marker segment (ISO 10918-1 B.1.1.4); IndexError at the end."""
    if not stream.startswith(b"\xff\xd8"):
        raise PixelError("do not begin as a JPEG stream does")
    at = 2
    while True:
        if stream[at] != 0xFF:
            raise PixelError("have a JPEG header that cannot be read; send the image again")
        marker = stream[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker in ALONE:
            at += 2
        else:
            yield marker, at + 2
            at += 2 + int(struct.unpack_from(">H", stream, at + 2)[0])


def _jpeg_2000(stream: bytes, layout: Layout) -> int:
    """Check the header of a JPEG 2000 codestream, boxed or not; return where its coded data begin."""
    at = _codestream(stream)
    if stream[at : at + 4] != START_OF_STREAM + SIZE_MARKER:
        raise PixelError("do not begin as a JPEG 2000 stream does")
    x, y, x0, y0, tile_x, tile_y, tile_x0, tile_y0, samples = struct.unpack_from(">8IH", stream, at + 8)
    depth, dx, dy = struct.unpack_from(">3B", stream, at + 42)  # of the first component
    _require_same(layout, (y - y0, x - x0, samples, (depth & 0x7F) + 1))
    if (dx, dy) != (1, 1):
        raise PixelError("are subsampled in their compressed stream")
    tiles = -(-(x - tile_x0) // max(tile_x, 1)) * -(-(y - tile_y0) // max(tile_y, 1))
    if tiles > MOST_TILES:
        raise PixelError(f"have {tiles} tiles")
    return max(stream.find(START_OF_DATA, at), at)


def _codestream(stream: bytes) -> int:
    """Return where the codestream begins: at the beginning, or in a box of a JP2 file (ISO 15444-1, annex I)."""
    if not stream.startswith(JP2_SIGNATURE):
        return 0
    at = 0
    while True:
        length, kind = struct.unpack_from(">I4s", stream, at)
        head = 16 if length == 1 else 8
        if kind == b"jp2c":
            return at + head
        size = int(struct.unpack_from(">Q", stream, at + 8)[0] if length == 1 else length)
        if size < head:
            raise PixelError("have a JP2 box of no length")
        at += size


def _require_same(layout: Layout, found: tuple[int, int, int, int]) -> None:
    rows, columns, samples, bits = found
    if (rows, columns, samples) != (layout.rows, layout.columns, layout.samples) or bits > layout.allocated:
        raise PixelError(
            f"are {rows} x {columns} with {samples} samples of {bits} bits in their compressed stream, and "
            f"{layout.rows} x {layout.columns} with {layout.samples} samples in {layout.allocated} bits in the header: "
            "export the image again"
        )
