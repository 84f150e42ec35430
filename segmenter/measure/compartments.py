"""Cortical and trabecular bone: the two compartments that together make up a femur.

Cortical is an outer layer of fixed thickness, whatever its density (a thin cortex is blurred), and dense bone down to
a greater depth that is connected to this layer. All else is trabecular.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from segmenter.measure.axes import Vector
from segmenter.measure.surface import Body
from segmenter.volume.geometry import Matrix

END_MM = 3.0  # from the lowest point: here a face directed down the shaft is a distal cut
FACING = 0.7  # cosine
LEAF = 64  # vertices in a leaf of the tree: a third faster here than SciPy's 16


def depth_below_surface(body: Body, points: Matrix, reach_mm: float, down: Vector | None) -> NDArray[np.float32]:
    """Return how deep points `(n, 3)`, LPS mm, lie below the bone's surface, mm, up to `reach_mm`; outside negative.

    down: along the shaft, if known. A face made by the end of the scan or a distal cut is not a surface: the marrow
    there is as deep as above it.
    """
    surface = body.surface.vertices[~(body.cut | _cut_end(body, down))]
    bound = reach_mm + 3 * body.grid.spacing[0]
    depth = np.full(body.share.shape, bound, np.float32)
    inside = body.share > body.level
    near = ndimage.binary_dilation(inside, iterations=2)  # interpolation needs a node on either side
    if len(surface):
        gap, _ = cKDTree(surface, LEAF).query(
            body.grid.to_patient(np.argwhere(near)), distance_upper_bound=bound, workers=1
        )
        depth[near] = np.minimum(gap, bound)
    depth[~inside] *= -1
    index = body.grid.to_index(points).T
    result: NDArray[np.float32] = ndimage.map_coordinates(depth, index, np.float32, order=1, mode="nearest")
    return np.minimum(result, reach_mm)


def _cut_end(body: Body, down: Vector | None) -> NDArray[np.bool_]:
    """Return which vertices lie on a flat end perpendicular to the shaft."""
    if down is None:
        return np.zeros(len(body.surface.vertices), bool)
    along = body.surface.vertices @ down
    end: NDArray[np.bool_] = (along > along.max() - END_MM) & (body.surface.normals @ down > FACING)
    return end


def cortical(
    mask: NDArray[np.bool_], depth: NDArray[np.float32], dense: NDArray[np.bool_], peel_mm: float, depth_mm: float
) -> NDArray[np.bool_]:
    """Return which voxels of a femur's mask `(z, y, x)` are cortical.

    depth: mm below the surface of every voxel in the mask `(n,)`, in array order; dense: whether it is above the
    threshold.
    """
    peel = depth < peel_mm
    may_be = np.zeros(mask.shape, bool)
    may_be[mask] = peel | (dense & (depth < depth_mm))
    pieces, count = ndimage.label(may_be, np.ones((3, 3, 3)))
    seen = np.zeros(count + 1, bool)
    seen[np.unique(pieces[mask][peel])] = True
    seen[0] = False
    result: NDArray[np.bool_] = seen[pieces]
    return result
