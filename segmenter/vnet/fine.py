"""The fine stage: outline each hip in one window at full resolution, map it to the source grid, prove it a femur."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segmenter.refine.outline import completed
from segmenter.refine.recognise import why_not
from segmenter.vnet.coarse import CoarseView, Hip, find_hips
from segmenter.vnet.confidence import confidence
from segmenter.vnet.grids import FINE_MARGIN_MM, FINE_MM
from segmenter.vnet.network import probabilities
from segmenter.vnet.weights import Models
from segmenter.volume.coverage import completeness
from segmenter.volume.femur import Confidence, Femur, Refusal, Side
from segmenter.volume.geometry import Geometry, Matrix, box_geometry
from segmenter.volume.masks import bounding_box, clean
from segmenter.volume.resample import OUTSIDE_HU, covered, crop_to, cut, reduce, resample

Box = tuple[Matrix, Matrix]  # lowest and highest corner

SURFACE = 0.5  # probability at the bone's surface
GROWTH_MM = 40.0
MIN_FEMUR_ML = 5.0  # less means that the fine network does not see the bone the coarse one found
MAX_WINDOWS = 4
UNSEEN = "runs on beyond the largest window looked at"


@dataclass(frozen=True, eq=False)
class Outline:
    """One femur in a box of the source grid: its mask `(z, y, x)` there, and how sure that is.

    whole: the window that was looked at held all of it.
    """

    box: tuple[slice, ...]
    mask: NDArray[np.bool_]
    whole: bool
    confidence: Confidence | None


def segment_femurs(
    volume: NDArray[np.generic],
    geometry: Geometry,
    models: Models,
    on_stage: Callable[[str], None] = lambda _: None,
    on_refused: Callable[[Refusal], None] = lambda _: None,
    coarse: CoarseView | None = None,
) -> list[Femur]:
    """Return the femurs of a scan, left first; empty if it holds no hip.

    volume: HU `(z, y, x)` on `geometry`. `on_stage` is called with "segment" once the hips are found, `on_refused` with
    every bone that was outlined and cannot be shown to be a proximal femur. coarse: the scan's coarse view, if there is
    one already.
    """
    hips = find_hips(volume, geometry, models, coarse)
    on_stage("segment")
    femurs: list[Femur] = []
    for hip in hips:
        found = segment_hip(volume, geometry, hip, models)
        part = found.mask
        for femur in femurs:  # no voxel belongs to two bones
            part &= ~femur.mask[found.box]
        if part.sum() * geometry.voxel_volume_mm3 >= MIN_FEMUR_ML * 1000:
            # Only the written pages of the mask take memory.
            mask = np.zeros(geometry.shape, bool)
            mask[found.box] = part
            coarse_ml = (hip.proximal_ml, hip.shaft_ml)
            if reason := why_not(mask, volume, geometry, hip.side, coarse_ml, alone=len(hips) == 1):
                on_refused(Refusal(hip.side, reason))
                continue
            _, reasons = completeness(mask, volume, geometry)
            reasons += () if found.whole else (UNSEEN,)
            femurs.append(Femur(hip.side, mask, not reasons, reasons, found.confidence))
    return femurs


def segment_hip(volume: NDArray[np.generic], geometry: Geometry, hip: Hip, models: Models) -> Outline:
    """Return the outline of one femur; its mask comes from resampled probabilities, not from a resampled mask."""
    femur, fine, whole, body = outline_hip(volume, geometry, hip, models)
    sure = confidence(femur, body, fine, geometry)
    femur = completed(femur, fine, (volume, geometry), hip.side, body=body)
    return Outline(*_on_source(femur, fine, geometry), whole, sure)


def outline_hip(
    volume: NDArray[np.generic], geometry: Geometry, hip: Hip, models: Models
) -> tuple[NDArray[np.float32], Geometry, bool, NDArray[np.bool_]]:
    """Return one femur's probabilities `(z, y, x)` on a window, the window, whether it holds all of it, and its body.

    The window begins around the coarse femur and grows while the fine one reaches its border.
    """
    corners = geometry.corners()
    scan = (corners.min(axis=0), corners.max(axis=0))
    window = (hip.low - FINE_MARGIN_MM, hip.high + FINE_MARGIN_MM)
    flip = -1 if hip.side is Side.RIGHT else 1  # the network is trained on left hips only
    for _ in range(MAX_WINDOWS):
        fine = box_geometry(*window, FINE_MM)
        hu = reduce(volume, geometry, fine, OUTSIDE_HU)
        femur = probabilities(models.fine, hu[:, :, ::flip])[1][:, :, ::flip]
        femur = carried_out(femur, fine, geometry)
        body = clean(femur > SURFACE)
        larger = grown_box(body, window, scan)
        whole = all(np.array_equal(a, b) for a, b in zip(larger, window, strict=True))
        if whole:
            break
        window = larger
    return femur, fine, whole, body


def _on_source(
    femur: NDArray[np.float32], fine: Geometry, geometry: Geometry
) -> tuple[tuple[slice, ...], NDArray[np.bool_]]:
    """Return the box of the source grid that holds the femur, and its mask there; femur: probabilities on `fine`."""
    probable = femur > SURFACE
    if not probable.any():
        return (slice(0, 0),) * 3, np.zeros((0, 0, 0), bool)
    # Between two samples below the threshold no value exceeds it: one more sample around the bone is enough.
    near = bounding_box(probable, margin=1)
    _, seen = cut(fine, np.array([at.start for at in near]), np.array([at.stop for at in near]))
    box, part = crop_to(geometry, seen)
    return box, clean(resample(femur[near], seen, part, 0.0) > SURFACE)


def carried_out(
    probability: NDArray[np.float32], window: Geometry, scan: Geometry, reach_mm: float = 2 * FINE_MM
) -> NDArray[np.float32]:
    """Return the probabilities of a window, those just outside the scan replaced by the nearest inside.

    The scan's last slice lies between two samples of the window; the outer one lies outside the image and would
    otherwise shorten a bone that the border cuts.
    """
    reach = scan.to_index(window.corners())
    if reach.min() >= 0 and (reach <= np.array(scan.shape) - 1).all():
        return probability
    inside = covered(scan, window)
    if not inside.any():
        return probability
    gap, nearest = _nearest(inside, window.spacing)
    carried: NDArray[np.float32] = np.where(gap <= reach_mm, probability[nearest], probability)
    return carried


def _nearest(
    inside: NDArray[np.bool_], spacing: tuple[float, float, float]
) -> tuple[NDArray[np.float64], tuple[NDArray[np.integer], ...]]:
    """Return each voxel's distance to the nearest one inside, mm, and the index of that one."""
    box = bounding_box(inside)
    if inside[box].all():  # the scan lies along the window's axes
        along = [np.arange(size) for size in inside.shape]
        nearest = [at.clip(edge.start, edge.stop - 1) for at, edge in zip(along, box, strict=True)]
        gaps = [(at - near) * mm for at, near, mm in zip(along, nearest, spacing, strict=True)]
        z, y, x = np.ix_(*gaps)
        return np.sqrt(z**2 + y**2 + x**2), np.ix_(*nearest)
    gap, index = ndimage.distance_transform_edt(~inside, spacing, return_indices=True)
    return gap, tuple(index)


def grown_box(inside: NDArray[np.bool_], box: Box, scan: Box) -> Box:
    """Return the window enlarged on every side where the femur touches its border inside the scan; LPS mm."""
    low, high = box[0].copy(), box[1].copy()
    for axis in range(3):
        patient = 2 - axis  # array axes are z, y, x
        first, last = (np.take(inside, face, axis=axis).any() for face in (0, -1))
        if first and low[patient] > scan[0][patient]:
            low[patient] -= GROWTH_MM
        if last and high[patient] < scan[1][patient]:
            high[patient] += GROWTH_MM
    return low, high
