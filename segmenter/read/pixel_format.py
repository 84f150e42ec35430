"""The pixel format of an image: which formats are read, and which bits of a cell hold the value."""

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
    """Bits allocated and stored per pixel cell (the lowest ones are stored), and whether the values are signed.

    name: of the image, for messages. overlays: the unused bits may hold overlay planes, as older scanners wrote them
    (PS3.5 8.1.2). rounded: the values went through a lossy codec and may exceed the bits stored.
    """

    name: str
    allocated: int
    stored: int
    signed: bool
    overlays: bool
    rounded: bool

    def numbers(self, cells: Stored, padding: NDArray[np.bool_]) -> Stored:
        """Return the values of the cells without the unused bits (PS3.5 8.1.1).

        padding: cells that hold padding instead of a value. Raises SegmenterError(PIXEL_FORMAT) when a cell uses more
        bits than declared and no overlay explains them: its value is then ambiguous.
        """
        spare = 8 * cells.dtype.itemsize - self.stored  # a decoder may return smaller cells than allocated
        if spare <= 0 or self.rounded:
            return cells
        numbers: Stored = np.right_shift(np.left_shift(cells, spare), spare)
        # A decoder may leave a 12-bit value in a 16-bit cell without its sign.
        code = np.left_shift(cells.astype(cells.dtype.str.replace("i", "u")), spare) >> spare
        beyond = (cells != numbers) & (cells != code.astype(cells.dtype))
        beyond &= ~padding
        if beyond.any() and not self.overlays:
            raise SegmenterError(
                Reason.PIXEL_FORMAT,
                f"{np.count_nonzero(beyond)} pixels of {self.name} use more than the {self.stored} bits declared in "
                "Bits Stored, and no overlay is declared there: export the series again",
            )
        return numbers


def pixel_format(header: Dataset, name: str) -> PixelFormat:
    """Return the pixel format of an image; name: of the image, for messages.

    Raises SegmenterError for a format that the CT modules do not allow (PS3.3 C.8.2.1, C.8.15.2).
    """
    photometric = str(header.get("PhotometricInterpretation") or "").strip()
    if int(header.get("SamplesPerPixel") or 1) != 1 or photometric not in ("", "MONOCHROME1", "MONOCHROME2"):
        raise SegmenterError(Reason.NOT_HU, f"{name} is a colour image: expected one sample per pixel, in HU")
    allocated, stored, sign = (
        int(header.get(keyword) or 0) for keyword in ("BitsAllocated", "BitsStored", "PixelRepresentation")
    )
    high = stored - 1 if header.get("HighBit") is None else int(header.HighBit)
    if allocated not in (8, 16) or not 1 <= stored <= allocated or high != stored - 1 or sign not in (0, 1):
        raise SegmenterError(
            Reason.PIXEL_FORMAT,
            f"{name} has {allocated} bits allocated, {stored} bits stored, high bit {high} and pixel representation "
            f"{sign}: expected 8 or 16 bits, stored from the lowest bit on; export the series again as CT images",
        )
    overlays = any(
        (group, 0x0102) in header and int(header[group, 0x0102].value or 0) >= stored for group in OVERLAY_GROUPS
    )
    rounded = header.file_meta.get("TransferSyntaxUID") in MAY_LOSE
    return PixelFormat(name, allocated, stored, bool(sign), overlays, rounded)
