"""How an image stores its pixels: which formats are read, and the bits that count."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import HTJ2K, JPEG2000, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless

from segmenter.errors import Reason, SegmenterError

Stored = NDArray[np.integer]

LOSE = frozenset({JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless})
MAY_LOSE = LOSE | {JPEG2000, HTJ2K}
OVERLAY_GROUPS = range(0x6000, 0x6020, 2)  # PS3.3 C.9.2


@dataclass(frozen=True)
class PixelFormat:
    """Bits of a pixel cell, bits of it that hold the number (the lowest ones), and whether that has a sign.

    name: of the image, for messages. overlays: the bits above may hold overlay planes, as older scanners wrote them
    (PS3.5 8.1.2). rounded: written by a coder that may be off by some, and so may lie beyond the bits that were used.
    """

    name: str
    allocated: int
    stored: int
    signed: bool
    overlays: bool
    rounded: bool

    def numbers(self, cells: Stored, padding: NDArray[np.bool_]) -> Stored:
        """Return the numbers in the cells, without what the unused bits hold (PS3.5 8.1.1).

        padding: cells that hold no number. Raises SegmenterError(PIXEL_FORMAT) when a cell uses more bits than the
        image says and no overlay accounts for them: whether it is a great number or a small one cannot be known.
        """
        spare = 8 * cells.dtype.itemsize - self.stored  # a decoder may choose smaller cells than were asked for
        if spare <= 0 or self.rounded:
            return cells
        numbers: Stored = np.right_shift(np.left_shift(cells, spare), spare)
        # A decoder may leave out the sign of a number of 12 bits in a cell of 16.
        code = np.left_shift(cells.astype(cells.dtype.str.replace("i", "u")), spare) >> spare
        beyond = (cells != numbers) & (cells != code.astype(cells.dtype))
        beyond &= ~padding
        if beyond.any() and not self.overlays:
            raise SegmenterError(
                Reason.PIXEL_FORMAT,
                f"{np.count_nonzero(beyond)} pixels of {self.name} use more than the {self.stored} bits that it says "
                "it uses, and no overlay is announced there: export the series again",
            )
        return numbers


def pixel_format(header: Dataset, name: str) -> PixelFormat:
    """Return the format of an image called `name` in messages.

    Raises SegmenterError for what the CT modules do not allow (PS3.3 C.8.2.1, C.8.15.2): reading it would be a guess.
    """
    photometric = str(header.get("PhotometricInterpretation") or "").strip()
    if int(header.get("SamplesPerPixel") or 1) != 1 or photometric not in ("", "MONOCHROME1", "MONOCHROME2"):
        raise SegmenterError(Reason.NOT_HU, f"{name} is a colour picture, needed is one sample of HU per pixel")
    allocated, stored, sign = (
        int(header.get(keyword) or 0) for keyword in ("BitsAllocated", "BitsStored", "PixelRepresentation")
    )
    high = stored - 1 if header.get("HighBit") is None else int(header.HighBit)
    if allocated not in (8, 16) or not 1 <= stored <= allocated or high != stored - 1 or sign not in (0, 1):
        raise SegmenterError(
            Reason.PIXEL_FORMAT,
            f"{name} stores {allocated} bits per pixel, {stored} of them used, high bit {high}, sign {sign}: CT images "
            "have 8 or 16 bits used from the lowest on, export the series as CT images again",
        )
    overlays = any(
        (group, 0x0102) in header and int(header[group, 0x0102].value or 0) >= stored for group in OVERLAY_GROUPS
    )
    rounded = header.file_meta.get("TransferSyntaxUID") in MAY_LOSE
    return PixelFormat(name, allocated, stored, bool(sign), overlays, rounded)
