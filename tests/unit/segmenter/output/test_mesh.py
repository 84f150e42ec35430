"""Meshes read back from their bytes: closed, outwards, in the patient's millimetres, of the mask's volume."""

import struct
from pathlib import Path

import numpy as np
import pytest
from femur_model import Model, grid

from segmenter.errors import Reason, SegmenterError
from segmenter.measure.surface import Surface
from segmenter.output.mesh import is_closed, write_mesh
from segmenter.volume.femur import Femur, Side
from segmenter.volume.geometry import Geometry
from segmenter.volume.masks import clean

GRIDS = {
    "axial": grid((2.5, 2.0, 2.0)),
    "cut by the scan": grid((2.5, 2.0, 2.0), below_mm=70.0),
    "oblique": grid((2.5, 2.0, 2.0), turned=(30, 20, 10)),
    "tilted gantry": grid((2.5, 2.0, 2.0), shear=0.3),
}


def read_stl(path: Path) -> tuple[bytes, Surface, np.ndarray]:
    """Return title, surface with equal corners made one, and the normals as they are stored."""
    data = path.read_bytes()
    (count,) = struct.unpack("<I", data[80:84])
    assert len(data) == 84 + 50 * count
    faces = np.frombuffer(data[84:], np.dtype([("n", "<f4", 3), ("v", "<f4", (3, 3)), ("a", "<u2")]))
    vertices, number = np.unique(faces["v"].reshape(-1, 3), axis=0, return_inverse=True)
    return data[:80], Surface(vertices.astype(float), number.reshape(-1, 3)), faces["n"]


def read_ply(path: Path) -> tuple[list[str], Surface]:
    data = path.read_bytes()
    head, _, body = data.partition(b"end_header\n")
    lines = head.decode("ascii").splitlines()
    vertices, faces = (int(line.split()[2]) for line in lines if line.startswith("element"))
    points = np.frombuffer(body, "<f4", 3 * vertices).reshape(-1, 3)
    rows = np.frombuffer(body[12 * vertices :], np.dtype([("n", "u1"), ("v", "<i4", 3)]))
    assert len(rows) == faces
    assert (rows["n"] == 3).all()
    return lines, Surface(points.astype(float), rows["v"].astype(np.int64))


@pytest.mark.parametrize(("name", "side"), [*((name, Side.LEFT) for name in GRIDS), ("axial", Side.RIGHT)])
def test_a_mesh_is_closed_and_of_the_masks_volume_at_the_masks_place(tmp_path, name, side):
    geometry = GRIDS[name]
    femur, _ = Model(side, length_mm=130.0).on(geometry)
    title, surface, normals = read_stl(write_mesh(femur, geometry, tmp_path / "femur.stl"))
    assert is_closed(surface)
    expected = femur.mask.sum() * geometry.voxel_volume_mm3
    assert surface.volume_mm3 == pytest.approx(expected, rel=0.01)  # and above zero: the faces look outwards
    points = geometry.to_patient(np.argwhere(femur.mask))
    reach = max(geometry.spacing)
    assert surface.vertices.min(axis=0) == pytest.approx(points.min(axis=0), abs=reach)
    assert surface.vertices.max(axis=0) == pytest.approx(points.max(axis=0), abs=reach)
    corners = surface.vertices[surface.faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (np.einsum("ij,ij->i", across, normals) >= 0).all()
    assert not title.startswith(b"solid")
    assert f"{side} femur, mm, LPS, for investigational use".encode() in title


def test_ply_holds_the_same_surface(tmp_path):
    geometry = GRIDS["axial"]
    femur, _ = Model(length_mm=130.0).on(geometry)
    lines, surface = read_ply(write_mesh(femur, geometry, tmp_path / "femur.PLY"))
    _, other, _ = read_stl(write_mesh(femur, geometry, tmp_path / "femur.stl"))
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    assert "for investigational use" in lines[2]
    assert is_closed(surface)
    assert len(surface.faces) == len(other.faces)
    assert surface.volume_mm3 == pytest.approx(other.volume_mm3, rel=1e-6)


def test_the_same_mask_gives_the_same_bytes(tmp_path):
    femur, _ = Model(length_mm=130.0).on(GRIDS["axial"])
    one, two = (write_mesh(femur, GRIDS["axial"], tmp_path / name).read_bytes() for name in ("a.ply", "b.ply"))
    assert one == two


@pytest.mark.parametrize("seed", range(12))
def test_masks_of_any_form_are_closed_or_refused(tmp_path, seed):
    rng = np.random.default_rng(seed)
    geometry = Geometry.axial((14, 18, 20), (3.0, 1.0, 0.7), (5.0, -3.0, 100.0))
    mask = clean(rng.random(geometry.shape) > 0.45)
    try:
        path = write_mesh(Femur(Side.LEFT, mask, complete=False), geometry, tmp_path / "any.stl")
    except SegmenterError as error:
        assert error.reason is Reason.MESH
    else:
        assert is_closed(read_stl(path)[1])


@pytest.mark.parametrize("ending", ["obj", "stl.gz", ""])
def test_another_format_is_refused_by_name(tmp_path, ending):
    femur = Femur(Side.LEFT, np.ones((2, 2, 2), bool), complete=False)
    with pytest.raises(ValueError, match=r"\.stl or \.ply"):
        write_mesh(femur, GRIDS["axial"], tmp_path / f"femur.{ending}")


def test_an_empty_mask_is_refused(tmp_path):
    geometry = GRIDS["axial"]
    with pytest.raises(SegmenterError, match="the mask of the right femur is empty"):
        write_mesh(Femur(Side.RIGHT, np.zeros(geometry.shape, bool), complete=False), geometry, tmp_path / "f.stl")


def test_a_mask_in_several_pieces_is_refused_not_halved(tmp_path):
    geometry = Geometry.axial((30, 30, 30), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    mask = np.zeros(geometry.shape, bool)
    mask[2:10, 2:10, 2:10] = mask[16:25, 16:25, 16:25] = True
    with pytest.raises(SegmenterError, match="is the mask one piece"):
        write_mesh(Femur(Side.LEFT, mask, complete=False), geometry, tmp_path / "f.stl")
    assert not (tmp_path / "f.stl").exists()


def test_an_open_or_inconsistent_surface_is_seen():
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    closed = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])
    assert is_closed(Surface(vertices, closed))
    assert Surface(vertices, closed).volume_mm3 == pytest.approx(1 / 6)
    assert not is_closed(Surface(vertices, closed[1:]))
    assert not is_closed(Surface(vertices, np.vstack([closed[:1, ::-1], closed[1:]])))
    assert not is_closed(Surface(vertices, np.vstack([closed, closed[:1]])))
    assert not is_closed(Surface(vertices, np.vstack([closed, [[0, 0, 1]]])))
