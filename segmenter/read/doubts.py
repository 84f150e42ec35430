"""What of a scan is not what it seems: impossible or cut off values, thick slices, a wrong pixel spacing."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from segmenter.errors import Reason, SegmenterError
from segmenter.read.header_values import texts_of, value_of
from segmenter.read.series import Series
from segmenter.volume.resample import OUTSIDE_HU

STEP = 7  # only every so many voxels are counted
SOFT_HU = 200.0  # fat and muscle lie within this of 0
LEAST_SOFT_SHARE = 0.01
AIR_HU, LEAST_AIR_SHARE = -300.0, 0.001
BONE_HU, MOST_BONE_SHARE = 600.0, 0.10  # of a scan without air; of a section through the hip it is below 0.03
WITHIN_HU, LEAST_SOFT_WITHIN = -990.0, 0.12  # of what is not air
LEAST_LEVELS, NEIGHBOURS, PILE, LEAST_PILE = 50, 10, 20.0, 100
HIGHEST_HU, LOWEST_HU = 1800.0, -900.0  # cut off beyond these, neither bone nor its surroundings change
MARROW_HU = -200.0
THICK_MM = 6.0
FIELD_TOLERANCE, CROP_TOLERANCE = 0.02, 0.005
USUAL_MATRICES = (512, 768, 1024)


@dataclass(frozen=True)
class Doubts:
    """Sentences about a scan; no_density: the one for which no density may be given, empty if it may."""

    warnings: tuple[str, ...] = ()
    no_density: str = ""


def find_doubts(series: Series, volume: NDArray[Any]) -> Doubts:
    """Return the doubts about a scan. volume: HU `(z, y, x)`. Raises SegmenterError(NOT_HU) for impossible values."""
    values = volume.reshape(-1)[::STEP]
    require_possible_hu(values)
    found = [*_cut_off(values), *_thick(series), *_field(series)]
    told = [sentence for sentence, _ in found]
    withheld = [sentence for sentence, spoils in found if spoils]
    return Doubts(tuple(told), f"no density is given: {withheld[0]}" if withheld else "")


def require_possible_hu(values: NDArray[Any]) -> None:
    """Raise SegmenterError(NOT_HU) for values among which fat, muscle and air are not where HU have them."""
    within = values[values > WITHIN_HU]
    soft, air, bone = (
        float(np.mean(np.abs(values) <= SOFT_HU)), float(np.mean(values < AIR_HU)), float(np.mean(values > BONE_HU))
    )  # fmt: skip
    inside = float(np.mean(np.abs(within) <= SOFT_HU)) if within.size else 0.0
    shifted = air < LEAST_AIR_SHARE and bone > MOST_BONE_SHARE
    if soft < LEAST_SOFT_SHARE or inside < LEAST_SOFT_WITHIN or shifted:
        raise SegmenterError(
            Reason.NOT_HU,
            f"the values cannot be Hounsfield units: {100 * soft:.0f} % lie within {SOFT_HU:g} of 0, where fat and "
            f"muscle are, {100 * air:.0f} % below {AIR_HU:g}, where air is, and {100 * bone:.0f} % above {BONE_HU:g}; "
            "Rescale Intercept or Slope is wrong or was lost: export the original series again",
        )


def _cut_off(values: NDArray[Any]) -> Iterator[tuple[str, bool]]:
    """Yield a sentence for each end of the values at which they pile up, and whether it spoils densities."""
    levels, counts = np.unique(values[values > OUTSIDE_HU], return_counts=True)
    if len(levels) < LEAST_LEVELS:
        return
    for end, value, neighbours, beyond in (
        ("above", levels[-1], counts[-1 - NEIGHBOURS : -1], levels[-1] < HIGHEST_HU),
        ("below", levels[0], counts[1 : 1 + NEIGHBOURS], levels[0] > LOWEST_HU),
    ):
        pile = counts[-1 if end == "above" else 0]
        if beyond and pile >= LEAST_PILE and pile >= PILE * neighbours.mean():
            sentence = (
                f"the values are cut off {end} {float(value):.0f} HU, as for a display window: volumes and HU may be "
                "wrong; send the original series"
            )
            yield sentence, end == "above" or bool(value > MARROW_HU)


def _thick(series: Series) -> Iterator[tuple[str, bool]]:
    thickness = _first_number(series.header, "SliceThickness")
    thickest = max(series.geometry.distances[0], thickness or 0.0)
    if thickest > THICK_MM:
        yield (
            f"the slices are {thickest:.3g} mm thick: volumes may be wrong, and densities too low; reconstruct slices "
            f"of at most {THICK_MM:g} mm",
            True,
        )


def _field(series: Series) -> Iterator[tuple[str, bool]]:
    """Yield a sentence when Pixel Spacing contradicts the diameter of reconstruction (PS3.3 C.8.2.1, C.8.15.3.6)."""
    diameter = _first_number(series.header, "ReconstructionDiameter")
    if diameter is None:
        diameter = _first_number(series.header, "ReconstructionFieldOfView")
    if not diameter or diameter <= 0:
        return
    first = series.slices[0]
    row_mm, column_mm = (float(value) for value in first.spacing)
    extents = (first.rows * row_mm, first.columns * column_mm)
    if any(abs(extent / diameter - 1) <= FIELD_TOLERANCE for extent in extents):
        return
    cropped = any(
        abs(size * column_mm / diameter - 1) <= CROP_TOLERANCE and size > max(first.rows, first.columns)
        for size in USUAL_MATRICES
    )
    if cropped and first.columns % 64:  # a part of the matrix; a matrix of 256 could be a smaller reconstruction
        return
    yield (
        f"Pixel Spacing makes the images {extents[1]:.0f} mm wide, and the header says that the field reconstructed "
        f"was {diameter:.0f} mm: the images were cropped, or the spacing is wrong and with it all volumes and lengths",
        not cropped,
    )


def _first_number(header: Dataset, keyword: str) -> float | None:
    """Return a number of the header, or of its shared functional groups (PS3.3 C.7.6.16.2)."""
    shared = value_of(header, "SharedFunctionalGroupsSequence") or []
    macros = [macro.value[0] for group in shared for macro in group if macro.VR == "SQ" and macro.value]
    for place in (header, *macros):
        for text in texts_of(place, keyword)[:1]:
            try:
                return float(text)
            except ValueError:
                return None
    return None
