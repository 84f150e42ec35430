"""The HU scale of a scan judged by its own air, fat and muscle, which every line from HU to density depends on.

An offset of 24 HU (a wrong rescale intercept, a scanner out of calibration) changes densities by 6 % and shows nowhere
else. Air is the same at every voltage; fat and muscle differ between patients, but their mean hardly does: the fatter a
muscle, the fatter the patient.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import ndimage

from segmenter.read.image_kind import Beam
from segmenter.volume.geometry import Geometry

SAMPLE_MM = 1.2  # about: the distance of the voxels that are looked at
BOX = 3  # voxels along each axis, of which the median is taken: clipped noise does not change it
EDGE_HU = 600  # range of a box that lies across an edge, such as that of the field
BOXES = 40_000  # about: more do not make the peaks clearer
SMOOTH_HU = 4.0  # standard deviation: of the histogram of medians
LOWEST_HU = -1100
AIR_HU, FAT_HU, MUSCLE_HU = (-1070, -880), (-180, -30), (-10, 150)  # where the peaks are looked for
AIR_RISES = 0.2  # of the highest peak in that range: the lowest peak from that on is air, not foam or a blanket
AIR_SHARE = 0.03  # of the boxes near that peak: less may be gas in the bowel
NEAR_HU = 12
TRUE_AIR, TRUE_TISSUE = -1000.0, -25.0  # HU of air; of the mean of fat and muscle
# Air was between -1000 and -986 HU in 23 real scans and 15 synthetic patients, the mean of fat and muscle between -36
# and -8 HU. Both must be off, in the same direction; where no air is seen, the mean alone by more.
AIR_OFF_HU, TISSUE_ALSO_OFF_HU, TISSUE_ALONE_OFF_HU = 15.0, 5.0, 30.0
TISSUE_OFF_LINE_HU = 40.0  # of the mean from what a phantom's line gives water; the base of phantoms is not water


@dataclass(frozen=True)
class Tissues:
    """The peaks of air, fat and muscle in a scan, HU; None where none is seen."""

    air: float | None
    fat: float | None
    muscle: float | None

    @property
    def tissue_off(self) -> float | None:
        """Distance of the mean of fat and muscle from its true value, HU."""
        if self.fat is None or self.muscle is None:
            return None
        return (self.fat + self.muscle) / 2 - TRUE_TISSUE

    @property
    def offset(self) -> float:
        """By how many HU the scale is shifted; 0 where that is not certain."""
        off = self.tissue_off
        if off is None:
            return 0.0
        if self.air is None:
            return off if abs(off) >= TISSUE_ALONE_OFF_HU else 0.0
        shift = self.air - TRUE_AIR
        if abs(shift) < AIR_OFF_HU:
            return 0.0
        if np.sign(shift) * off >= TISSUE_ALSO_OFF_HU:
            return shift
        return off if abs(off) >= TISSUE_ALONE_OFF_HU else 0.0  # foam or a blanket was taken for air

    @property
    def described(self) -> str:
        """The peaks in words."""
        named = (("air", self.air), ("fat", self.fat), ("muscle", self.muscle))
        return ", ".join(f"{name} has {hu:.0f} HU" for name, hu in named if hu is not None)


def find_tissues(volume: NDArray[Any], geometry: Geometry) -> Tissues:
    """Return the peaks of the tissues in a scan; volume: HU `(z, y, x)` on `geometry`."""
    medians = _medians(volume, geometry)
    if not len(medians):
        return Tissues(None, None, None)
    edges = np.arange(LOWEST_HU, -LOWEST_HU + 1) - 0.5
    histogram = ndimage.gaussian_filter1d(np.histogram(medians, edges)[0].astype(float), SMOOTH_HU)
    return Tissues(_air(histogram), *(_highest(histogram, span) for span in (FAT_HU, MUSCLE_HU)))


def contradicts_certificate(tissues: Tissues, beam: Beam) -> str:
    """Return as a sentence why no certificate holds for a scan with these tissues; empty if any may."""
    # Without air, only images of a tube voltage are judged: at a low energy, fat is much darker.
    if not tissues.offset or (tissues.air is None and beam is not Beam.POLYCHROMATIC):
        return ""
    return (
        f"the HU of the scan are shifted by about {tissues.offset:+.0f} ({tissues.described}), so no certificate holds "
        "for them: look at the rescale intercept and at the scanner's own calibration"
    )


def doubts_of_phantom(tissues: Tissues, intercept_hu: float) -> str:
    """Return as a sentence what does not fit between the tissues and a phantom's line; empty if nothing.

    intercept_hu: of the line. A shift of the HU is in the rods as well, so that the densities are right all the same.
    """
    if tissues.tissue_off is not None and abs(tissues.tissue_off - intercept_hu) > TISSUE_OFF_LINE_HU:
        water = f"by it water has {intercept_hu:.0f} HU"
        return f"the phantom's line does not fit the patient: {water}, but {tissues.described}"
    if tissues.offset:
        return (
            f"the HU of the scan are shifted by about {tissues.offset:+.0f} ({tissues.described}): "
            "the densities follow the phantom, the HU do not"
        )
    return ""


def _medians(volume: NDArray[Any], geometry: Geometry) -> NDArray[Any]:
    """Return the medians `(n,)` of small boxes over the scan, without those that lie outside the field."""
    steps = [max(1, round(SAMPLE_MM / mm)) for mm in geometry.spacing]
    sampled = volume[tuple(slice(None, None, step) for step in steps)]
    if min(sampled.shape) < BOX:
        return np.empty(0)
    boxes = sliding_window_view(sampled, (BOX,) * 3)[::BOX, ::BOX, ::BOX]
    every = max(1, round(float(np.prod(boxes.shape[:3]) / BOXES) ** 0.5))
    chosen = boxes[:, ::every, ::every].reshape(-1, BOX**3)
    inside = (chosen > sampled.min()).mean(axis=1) > 0.5  # the lowest value is padding, or where noise was cut off
    spread = np.ptp(chosen, axis=1)
    inside &= (spread > 0) & (spread < EDGE_HU)  # padding may have any constant value
    medians: NDArray[Any] = np.median(chosen[inside], axis=1)
    return medians


def _peaks(histogram: NDArray[np.float64], span: tuple[int, int]) -> NDArray[np.int64]:
    """Return the HU of the maxima within a span."""
    inner = histogram[span[0] - LOWEST_HU : span[1] - LOWEST_HU]
    rises = (inner[1:-1] >= inner[:-2]) & (inner[1:-1] > inner[2:])
    return np.flatnonzero(rises) + 1 + span[0]


def _highest(histogram: NDArray[np.float64], span: tuple[int, int]) -> float | None:
    peaks = _peaks(histogram, span)
    return float(peaks[histogram[peaks - LOWEST_HU].argmax()]) if len(peaks) else None


def _air(histogram: NDArray[np.float64]) -> float | None:
    """Return the lowest peak of those that could be air, if enough of the scan is air."""
    peaks = _peaks(histogram, AIR_HU)
    heights = histogram[peaks - LOWEST_HU]
    for peak in peaks[heights >= AIR_RISES * heights.max(initial=0.0)]:
        at = peak - LOWEST_HU
        near = histogram[at - NEAR_HU : at + NEAR_HU + 1].sum()
        return float(peak) if near >= AIR_SHARE * histogram.sum() else None
    return None
