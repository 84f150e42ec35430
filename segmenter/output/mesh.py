"""A femur as a closed triangle mesh for finite-element work: binary STL or PLY, LPS millimetres.

The surface is that of `measure.surface`: watertight also where the scan ends the bone, faces counter-clockwise from
outside, volume that of the mask. For investigational use.
"""

from pathlib import Path

import numpy as np

from segmenter.errors import Reason, SegmenterError, Verdict
from segmenter.measure.surface import Surface, body_of
from segmenter.objects.labels import NOTICE
from segmenter.volume.femur import Femur
from segmenter.volume.geometry import Geometry

STL_TITLE = 80  # bytes before the number of faces
STL_FACE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
PLY_FACE = np.dtype([("count", "u1"), ("corners", "<i4", 3)])
MAX_VOLUME_ERROR = 0.01  # of the mask's


def write_mesh(femur: Femur, geometry: Geometry, path: Path) -> Path:
    """Write the surface of a femur as STL or PLY, by the suffix of `path`; return the path. geometry: of the mask.

    Raises ValueError for another suffix, SegmenterError if no closed surface of the mask's volume exists.
    """
    writers = {".stl": stl_bytes, ".ply": ply_bytes}
    write = writers.get(path.suffix.lower())
    if write is None:
        raise ValueError(f"a mesh is written as .stl or .ply, not as '{path.suffix}'")
    title = f"qct-node {femur.side} femur, mm, LPS, {NOTICE}"
    path.write_bytes(write(checked_surface(femur, geometry), title))
    return path


def checked_surface(femur: Femur, geometry: Geometry) -> Surface:
    """Return the surface of a femur; raises SegmenterError unless it is closed and has the mask's volume."""
    voxels = np.count_nonzero(femur.mask)
    if not voxels:
        raise SegmenterError(Reason.MESH, f"the mask of the {femur.side} femur is empty", Verdict.FAILED)
    surface = body_of(femur.mask, geometry).surface
    excess = surface.volume_mm3 / (voxels * geometry.voxel_volume_mm3) - 1
    if abs(excess) > MAX_VOLUME_ERROR:
        fault = f"its volume differs by {100 * excess:+.1f} % from the mask's; is the mask one piece?"
    elif not is_closed(surface):
        fault = "it is not closed"
    else:
        return surface
    raise SegmenterError(Reason.MESH, f"no mesh of the {femur.side} femur was written: {fault}", Verdict.FAILED)


def is_closed(surface: Surface) -> bool:
    """Return whether every edge belongs to two faces of opposite direction: watertight and consistently oriented."""
    edges = surface.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    ends = len(surface.vertices)
    there, back = edges @ (ends, 1), edges @ (1, ends)
    there.sort()
    back.sort()
    return bool((there == back).all() and (np.diff(there) > 0).all() and (edges[:, 0] != edges[:, 1]).all())


def stl_bytes(surface: Surface, title: str) -> bytes:
    """Return the surface as binary STL; the title must not begin with "solid", the mark of the text format."""
    corners = surface.vertices[surface.faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    faces = np.zeros(len(corners), STL_FACE)
    faces["corners"] = corners
    faces["normal"] = across / np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-12)
    head = title.encode("ascii")[:STL_TITLE].ljust(STL_TITLE)
    return head + len(faces).to_bytes(4, "little") + faces.tobytes()


def ply_bytes(surface: Surface, title: str) -> bytes:
    """Return the surface as binary little-endian PLY."""
    lines = (
        "ply",
        "format binary_little_endian 1.0",
        f"comment {title}",
        f"element vertex {len(surface.vertices)}",
        *(f"property float {axis}" for axis in "xyz"),
        f"element face {len(surface.faces)}",
        "property list uchar int vertex_indices",
        "end_header",
    )
    faces = np.zeros(len(surface.faces), PLY_FACE)
    faces["count"], faces["corners"] = 3, surface.faces
    return "\n".join((*lines, "")).encode("ascii") + surface.vertices.astype("<f4").tobytes() + faces.tobytes()
