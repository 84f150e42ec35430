"""Stage two: each hip in one window at full quality, and the femora back on the source grid."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from segmenter.femur import Femur, Side, clean, completeness
from segmenter.geometry import Geometry
from segmenter.grids import FINE_MARGIN_MM, FINE_MM, OUTSIDE_HU, box_geometry
from segmenter.locate import Hip, find_hips
from segmenter.resample import crop_to, reduce, resample
from segmenter.weights import Models, probabilities


def segment_femora(
    volume: NDArray[np.generic],
    geometry: Geometry,
    models: Models,
    on_stage: Callable[[str], None] = lambda _: None,
) -> list[Femur]:
    """Return the femora of a scan, left first; empty when it holds no hip.

    volume: HU `(z, y, x)` on `geometry`. `on_stage` is told "segment" once the hips are located.
    """
    hips = find_hips(volume, geometry, models)
    on_stage("segment")
    femora = []
    taken = np.zeros(geometry.shape, bool)
    for hip in hips:
        mask = segment_hip(volume, geometry, hip, models) & ~taken
        if mask.any():
            taken |= mask
            complete, reasons = completeness(mask, geometry)
            femora.append(Femur(hip.side, mask, complete, reasons))
    return femora


def segment_hip(volume: NDArray[np.generic], geometry: Geometry, hip: Hip, models: Models) -> NDArray[np.bool_]:
    """Return the mask `(z, y, x)` of one femur on the source grid, cut from resampled probabilities, not masks."""
    fine = box_geometry(hip.low - FINE_MARGIN_MM, hip.high + FINE_MARGIN_MM, FINE_MM)
    window = reduce(volume, geometry, fine, OUTSIDE_HU)
    flip = -1 if hip.side is Side.RIGHT else 1  # the network knows left hips only
    femur = probabilities(models.fine, window[:, :, ::flip])[1][:, :, ::flip]
    box, part = crop_to(geometry, fine)
    mask = np.zeros(geometry.shape, bool)
    mask[box] = clean(resample(femur, fine, part, 0.0) > 0.5)
    return mask
