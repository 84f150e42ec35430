"""The smooth body of a mask: its volume kept, closed on every grid, and what the scan itself has cut."""

import numpy as np
import pytest
from femur_model import HEAD_MM, Model, grid

from segmenter.measure.surface import body_of
from segmenter.output.mesh import is_closed
from segmenter.volume.geometry import Geometry

GRIDS = {
    "axial": grid(),
    "thick slices": grid((5.0, 1.0, 1.0)),
    "turned": grid((2.5, 2.0, 2.0), turned=(30, 20, 10)),
    "sheared": grid(shear=0.3),
}


@pytest.mark.parametrize("name", GRIDS)
def test_the_surface_is_closed_and_holds_the_masks_volume_on_any_grid(name):
    geometry = GRIDS[name]
    femur, _ = Model().on(geometry)
    body = body_of(femur.mask, geometry)
    assert is_closed(body.surface)
    assert body.surface.volume_mm3 == pytest.approx(femur.mask.sum() * geometry.voxel_volume_mm3, rel=2e-3)
    away = Model().distance(body.surface.vertices[~body.cut])
    assert np.abs(away).mean() < 0.35  # mm: where the voxels are several
    assert np.abs(away).max() < 0.6 * max(geometry.spacing)


def test_normals_look_outwards():
    femur, _ = Model().on(grid())
    surface = body_of(femur.mask, grid()).surface
    head = surface.vertices[:, 2] > 5
    outward = surface.vertices[head] / np.linalg.norm(surface.vertices[head], axis=1, keepdims=True)
    on_head = np.abs(np.linalg.norm(surface.vertices[head], axis=1) - HEAD_MM) < 1
    assert np.einsum("ij,ij->i", outward, surface.normals[head])[on_head].min() > 0.85


def test_a_bone_cut_by_the_scan_is_closed_there_and_known_as_cut():
    geometry = grid(below_mm=80.0)
    body = body_of(Model().on(geometry)[0].mask, geometry)
    assert is_closed(body.surface)
    lowest = geometry.corners()[:, 2].min() - geometry.spacing[0] / 2
    height = body.surface.vertices[:, 2] - lowest
    assert height.min() == pytest.approx(0, abs=0.7)
    assert body.cut[height < 0.5].all()
    assert not body.cut[height > 2.5].any()


def test_the_grid_of_the_body_is_the_patients_whatever_the_scans_is():
    body = body_of(Model().on(GRIDS["sheared"])[0].mask, GRIDS["sheared"])
    assert np.allclose(body.grid.affine[:3, :3], np.eye(3)[::-1])
    assert body.holds(np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 30.0]])).tolist() == [True, False]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_speck_is_no_traceback(size):
    geometry = Geometry.axial((9, 9, 9), (2.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    mask = np.zeros(geometry.shape, bool)
    mask[4 : 4 + size, 4 : 4 + size, 4 : 4 + size] = True
    body = body_of(mask, geometry)
    assert is_closed(body.surface)
    assert body.surface.volume_mm3 == pytest.approx(mask.sum() * 2.0, rel=1.0 if size == 1 else 0.01)


def test_specks_and_cavities_are_not_part_of_the_surface():
    geometry = Geometry.axial((40, 40, 40), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    mask = np.zeros(geometry.shape, bool)
    mask[8:32, 8:32, 8:32] = True
    whole = body_of(mask, geometry).surface
    mask[18:22, 18:22, 18:22] = False
    mask[36, 36, 36] = True
    holed = body_of(mask, geometry).surface
    assert is_closed(holed)
    assert np.ptp(holed.vertices, axis=0) == pytest.approx(np.ptp(whole.vertices, axis=0), abs=0.3)
