"""What could tell how good an outline is: figures of one answer of the networks, the greater the surer."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segmenter.measure.surface import surface_at
from segmenter.refine.rays import Search, nearest_edges
from segmenter.vnet.coarse import MIN_HEIGHT_MM
from segmenter.vnet.confidence import zone
from segmenter.vnet.fine import SURFACE, carried_out
from segmenter.vnet.grids import COARSE_MM, FINE_MM
from segmenter.vnet.network import probabilities
from segmenter.vnet.weights import Models
from segmenter.volume.femur import Side
from segmenter.volume.geometry import Geometry, box_geometry
from segmenter.volume.masks import clean
from segmenter.volume.resample import OUTSIDE_HU, covered, reduce, resample

NEAR = 4  # voxels around the outline
THRESHOLDS = (0.2, 0.8)
EDGES = Search(4.5, 4.5, 2.0)
EVERY = 4  # of the vertices of a surface one in four is looked at


@dataclass(frozen=True, eq=False)
class Answer:
    """The fine network's probabilities `(z, y, x)` on a window, of a scan: HU `(z, y, x)` on `geometry`."""

    probability: NDArray[np.float32]
    window: Geometry
    volume: NDArray[Any]
    geometry: Geometry
    side: Side
    models: Models


def candidates(answer: Answer) -> dict[str, float]:
    """Return all figures that cost no further pass of the fine network."""
    p, window = answer.probability, answer.window
    seen = covered(answer.geometry, window)
    body = clean(p > SURFACE) & seen
    near = ndimage.binary_dilation(body, iterations=NEAR) & seen
    width, area = zone(p, body, seen, window)
    low, high = THRESHOLDS
    return {
        "mean width of the zone": -float((width * area).sum() / area.sum()),
        "Dice the probabilities expect": float(2 * p[body].sum() / (body.sum() + p[near].sum())),
        "Dice between thresholds 0.2 and 0.8": dice(near & (p > low), body & (p > high)),
        "Dice of coarse and fine network": dice((coarse(answer) > SURFACE) & seen, body),
        "share of the surface at an edge of HU": edges(answer, body),
        "thickness of the slices": -answer.geometry.distances[0],
    }


def shifted(answer: Answer) -> float:
    """Return the Dice with a second pass on a window shifted by half a voxel along every axis."""
    corners = answer.window.corners()
    window = box_geometry(corners.min(axis=0) + FINE_MM / 2, corners.max(axis=0) + FINE_MM / 2, FINE_MM)
    flip = -1 if answer.side is Side.RIGHT else 1
    hu = reduce(answer.volume, answer.geometry, window, OUTSIDE_HU)
    p = probabilities(answer.models.fine, hu[:, :, ::flip])[1][:, :, ::flip]
    again = resample(carried_out(p, window, answer.geometry), window, answer.window, 0.0)
    return dice(clean(again > SURFACE), clean(answer.probability > SURFACE))


def coarse(answer: Answer) -> NDArray[np.float32]:
    """Return the coarse network's probability of any part of a femur on the window."""
    corners = answer.geometry.corners()
    low, high = corners.min(axis=0), corners.max(axis=0)
    beyond = max(0.0, MIN_HEIGHT_MM - (high - low)[2]) / 2 * np.array([0.0, 0.0, 1.0])
    grid = box_geometry(low - beyond, high + beyond, COARSE_MM)
    background = probabilities(answer.models.coarse, reduce(answer.volume, answer.geometry, grid, OUTSIDE_HU))[0]
    return resample(1 - background, grid, answer.window, 0.0)


def edges(answer: Answer, body: NDArray[np.bool_]) -> float:
    """Return the share of the surface within 1.5 mm of which HU fall as from bone to what is none."""
    surface = surface_at(body.astype(np.float32), answer.window, SURFACE)
    points, normals = surface.vertices[::EVERY], surface.normals[::EVERY]
    found = nearest_edges(answer.volume, answer.geometry, points, normals, EDGES)
    at_edge = (found.sure > 0) & (np.abs(found.at) <= FINE_MM)
    return float(at_edge[found.seen].mean())


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Return the overlap of two masks, 0..1."""
    return float(2 * (a & b).sum() / max(a.sum() + b.sum(), 1))
