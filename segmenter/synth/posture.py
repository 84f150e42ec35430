"""The posture of a patient: hips flexed, soft tissue following the legs, the whole body slightly deformed."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates

from segmenter.synth.atlas import FloatArray
from segmenter.synth.layers import FloatVolume, Layer, coordinates, noise_layer, smoothstep
from segmenter.volume.geometry import Geometry, Matrix
from segmenter.volume.resample import resample

NODE_MM = 8.0  # displacements are smooth: they are computed on nodes this far apart
FLESH_MM = 70.0  # below the head's centre: the range in which soft tissue passes from pelvis to leg
RIGID_MM, SUPPLE_MM = 38.0, 80.0  # distances from a head: rigid up to the first, fully deformed from the second


@dataclass(frozen=True, eq=False)
class Leg:
    """One leg moved about its head: rest -> posed is `centre + matrix (p - centre)`; `outward` is +1 for larger x."""

    centre: FloatArray
    matrix: Matrix
    outward: float


def draw_swings(rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Return the rotation vectors (rad) of both legs about x, y, z in the left model: flexion is negative about x.

    Most people lie straight; with a roll under the knees, or thighs on a rest as in PET, hips are flexed up to 50
    degrees. Turning about z stands for anteversion too.
    """
    flexion = rng.normal(0, 5) if rng.random() < 0.6 else rng.uniform(5, 50)
    common = np.array([-flexion, rng.normal(0, 3), rng.normal(0, 7)])
    left, right = (np.radians(common + rng.normal(0, [3.0, 2.5, 7.0])) for _ in range(2))
    return left, right


def pose_layers(
    layers: Iterable[Layer], rigid: Iterable[bool], legs: list[Leg], grid: Geometry, rng: np.random.Generator
) -> list[Layer]:
    """Return the layers of the straight body on `grid`, posed; a rigid layer (bone) does not follow the legs."""
    nodes = node_grid(grid)
    points = nodes.to_patient(np.stack(np.meshgrid(*map(np.arange, nodes.shape), indexing="ij"), axis=-1))
    supple = points + deformation(points, legs, nodes, rng)
    followed = follow(points, legs) - points + supple
    rest = {True: upsampled(supple - points, nodes, grid), False: upsampled(followed - points, nodes, grid)}
    return [
        Layer(map_coordinates(layer.values, index_of(rest[stiff], layer.geometry), order=1, mode="nearest"), grid)
        for layer, stiff in zip(layers, rigid, strict=True)
    ]


def follow(points: FloatArray, legs: list[Leg]) -> FloatArray:
    """Return the positions in the straight body of the soft tissue at the posed `points` `(..., 3)`, LPS mm."""
    middle = np.mean([leg.centre[0] for leg in legs])
    rest = points
    for leg in legs:
        straight = (points - leg.centre) @ np.linalg.inv(leg.matrix).T + leg.centre
        below = smoothstep((leg.centre[2] - straight[..., 2] + 5.0) / FLESH_MM)
        beside = smoothstep(((points[..., 0] - middle) * leg.outward + 12.0) / 24.0)
        rest = rest + (below * beside)[..., None] * (straight - points)
    return rest


def deformation(points: FloatArray, legs: list[Leg], nodes: Geometry, rng: np.random.Generator) -> FloatArray:
    """Return a smooth random displacement `(..., 3)` in mm that leaves both sockets unchanged."""
    corners = nodes.corners()
    low, high = corners.min(axis=0), corners.max(axis=0)
    fields = [noise_layer(rng, rng.uniform(45, 80), low - 10, high + 80).on(nodes) for _ in range(3)]
    shift = np.stack(fields, axis=-1) * rng.uniform(0, 3.5)
    for leg in legs:
        away = np.linalg.norm(points - leg.centre, axis=-1)
        shift *= smoothstep((away - RIGID_MM) / (SUPPLE_MM - RIGID_MM))[..., None]
    return shift.astype(float)


def node_grid(grid: Geometry) -> Geometry:
    """Return the coarse grid of nodes that covers `grid`."""
    corners = grid.corners()
    low, high = corners.min(axis=0), corners.max(axis=0)
    count = np.ceil((high - low) / NODE_MM).astype(int)[::-1] + 1
    shape = (int(count[0]), int(count[1]), int(count[2]))
    return Geometry.axial(shape, (NODE_MM,) * 3, (low[0], low[1], low[2]))


def upsampled(shift: FloatArray, nodes: Geometry, grid: Geometry) -> list[FloatVolume]:
    """Return the rest positions (x, y, z in LPS mm, each on `grid`) for displacements `(..., 3)` on the nodes."""
    own = coordinates(grid)
    return [
        (own[r] + resample(shift[..., r].astype(np.float32), nodes, grid, None)).astype(np.float32) for r in range(3)
    ]


def index_of(position: list[FloatVolume], geometry: Geometry) -> FloatVolume:
    """Return positions (x, y, z volumes in mm) as fractional indices `(3, z, y, x)` of a grid."""
    m = geometry.inverse
    return np.stack(
        [(m[a, 0] * position[0] + m[a, 1] * position[1] + m[a, 2] * position[2] + m[a, 3]) for a in range(3)]
    )
