"""One sampled femur as smooth fields in the patient: signed distance, cortex thickness, depth below the head."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from segmenter.synth.atlas import FemurShape, FloatArray, Pose, load_atlas
from segmenter.synth.layers import FAR_MM
from segmenter.volume.geometry import Geometry

FIELD_STEP_MM = 2.0  # a signed distance is smooth: trilinear values between 2 mm nodes are good to about 0.05 mm
NEAR_MM = 4.0  # below this the distance to the tangent plane is better than the distance to the nearest vertex
MAX_CONTINUED_MM = 200.0


@dataclass(frozen=True, eq=False)
class FemurField:
    """Fields on a coarse grid around one femur, each `(z, y, x)`.

    distance: signed, mm, negative inside. depth: mm below the top of the head along the shaft, of the nearest surface
    point, for a femur of mean size. landmarks: see there.
    """

    geometry: Geometry
    distance: NDArray[np.float32]
    depth: NDArray[np.float32]
    landmarks: "Landmarks"


@dataclass(frozen=True, eq=False)
class Landmarks:
    """The landmarks of one placed femur, LPS mm; directions are unit vectors.

    neck: from the head's centre to the middle of the trochanters. down: along the shaft, away from the head.
    medial: in the plane of neck and shaft, square to the shaft, towards the pelvis.
    """

    head_centre: FloatArray
    head_radius: float
    neck_base: FloatArray
    shaft: FloatArray
    neck: FloatArray
    down: FloatArray
    medial: FloatArray

    @classmethod
    def of(cls, vertices: FloatArray, shape: FemurShape) -> "Landmarks":
        """Find them by the correspondence of the vertices `(v, 3)` to the mean shape."""
        depth = shape.mean[:, 2].max() - shape.mean[:, 2]
        centre, radius = fit_sphere(vertices[head_vertices()])
        base, upper, lower = (
            vertices[(depth > a) & (depth < b)].mean(axis=0) for a, b in ((50, 75), (115, 130), (200, 230))
        )
        down = (lower - upper) / np.linalg.norm(lower - upper)
        across = centre - upper - ((centre - upper) @ down) * down
        return cls(
            centre,
            radius,
            base,
            upper,
            (base - centre) / np.linalg.norm(base - centre),
            down,
            across / np.linalg.norm(across),
        )


@cache
def head_vertices() -> NDArray[np.int64]:
    """Return the indices of the model's vertices on the spherical part of the femoral head."""
    mean = load_atlas().femur.mean
    top = mean[mean[:, 2].argmax()]
    centre, radius = top - [0, 0, 23.0], 23.0
    for _ in range(10):
        offset = mean - centre
        shell = np.abs(np.linalg.norm(offset, axis=1) - radius) < 2.0
        shell &= offset @ np.array([-0.7, 0.0, 0.7]) > -0.2 * radius  # not where the neck begins, lateral and below
        centre, radius = fit_sphere(mean[shell])
    return np.flatnonzero(shell)


def fit_sphere(points: FloatArray) -> tuple[FloatArray, float]:
    """Return centre `(3,)` and radius of the least-squares sphere through `points` `(n, 3)`, in their unit."""
    system = np.column_stack([2 * points, np.ones(len(points))])
    solution, *_ = np.linalg.lstsq(system, (points**2).sum(axis=1), rcond=None)
    return solution[:3], float(np.sqrt(solution[3] + (solution[:3] ** 2).sum()))


def place(shape: FemurShape, pose: Pose, weights: FloatArray, swing: FloatArray, size: float) -> FloatArray:
    """Return the vertices `(v, 3)` of a new left femur whose head sits in the socket that `pose` was fitted to.

    swing: rotation vector (rad) of the leg about the head centre. size: head size relative to the fitted head.
    """

    def posed(w: FloatArray) -> FloatArray:
        turned = Rotation.from_rotvec(pose.rotation).apply(shape.sample(w) - pose.pivot)
        moved: FloatArray = turned * pose.scale + pose.pivot + pose.shift
        return moved

    head = head_vertices()
    socket, socket_radius = fit_sphere(posed(pose.weights)[head])
    vertices = posed(weights)
    centre, radius = fit_sphere(vertices[head])
    grown = (vertices - centre) * (size * socket_radius / radius)
    placed: FloatArray = Rotation.from_rotvec(swing).apply(grown) + socket
    return placed


def vertex_normals(vertices: FloatArray, faces: NDArray[np.int64]) -> FloatArray:
    """Return outward unit normals `(v, 3)`, area-weighted; a mirrored surface is recognised by its negative volume."""
    corner = vertices[faces]
    face_normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    normals = np.zeros_like(vertices)
    for column in faces.T:
        np.add.at(normals, column, face_normal)
    away = np.einsum("ij,ij->", normals, vertices - vertices.mean(axis=0))
    normals *= np.sign(away)
    unit: FloatArray = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    return unit


def femur_field(vertices: FloatArray, shape: FemurShape, lowest_mm: float) -> FemurField:
    """Sample the fields of one placed femur; the shaft is continued along itself down to `lowest_mm` (LPS z)."""
    landmarks = Landmarks.of(vertices, shape)
    down = landmarks.down
    along_shaft = (vertices - landmarks.shaft) @ down
    end = along_shaft.max() - 6.0  # beyond this plane across the shaft the bone repeats its last section
    tip = landmarks.shaft + end * down
    missing = min((lowest_mm - tip[2]) / min(down[2], -0.3), MAX_CONTINUED_MM)
    reach = np.vstack([vertices, vertices[along_shaft > end - 4.0] + max(missing, 0.0) * down])
    low, high = reach.min(axis=0) - 12.0, reach.max(axis=0) + 12.0
    nodes = np.ceil((high - low) / FIELD_STEP_MM).astype(int)[::-1] + 1
    geometry = Geometry.axial(tuple(nodes.tolist()), (FIELD_STEP_MM,) * 3, tuple(low.tolist()))
    points = geometry.to_patient(np.stack(np.meshgrid(*map(np.arange, nodes), indexing="ij"), axis=-1).reshape(-1, 3))
    beyond = np.maximum((points - tip) @ down, 0.0)
    probe = points - beyond[:, None] * down
    gap, nearest = cKDTree(vertices).query(probe, distance_upper_bound=FAR_MM, workers=1)
    found = np.isfinite(gap)
    nearest = np.where(found, nearest, 0)
    outward = np.einsum("ij,ij->i", probe - vertices[nearest], vertex_normals(vertices, shape.faces)[nearest])
    distance = np.where(np.abs(gap) < NEAR_MM, outward, np.sign(outward) * gap)
    distance[~found] = FAR_MM
    depth = (shape.mean[:, 2].max() - shape.mean[:, 2])[nearest] + beyond
    return FemurField(
        geometry,
        largest_inside(distance.reshape(nodes).astype(np.float32)),
        depth.reshape(nodes).astype(np.float32),
        landmarks,
    )


def largest_inside(distance: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mark every inside region but the largest as outside: far from the surface the sign of a normal can be wrong."""
    pieces, count = ndimage.label(distance < 0)
    if count > 1:
        biggest = np.bincount(pieces.ravel())[1:].argmax() + 1
        distance = np.where((pieces > 0) & (pieces != biggest), np.float32(FAR_MM), distance)
    smooth: NDArray[np.float32] = ndimage.gaussian_filter(distance, 0.4)
    return smooth
