"""Fields on their own grids: sampled alike by the fast way and the general one, blended with soft edges."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from segmenter.synth.layers import FAR_MM, Layer, blend, coordinates, noise_layer, signed_distance, smoothstep
from segmenter.volume.geometry import Geometry

SOURCE = Geometry.axial((9, 11, 13), (3.0, 2.0, 2.5), (-7.0, 4.0, 11.0))
FINER = Geometry.axial((25, 30, 41), (1.25, 0.83, 0.91), (-9.0, 3.1, 8.2))
TURNED = Geometry(
    FINER.shape, FINER.affine @ np.diag([1.0, -1.0, -1.0, 1.0]) + np.array([[0, 0, 0, 20.0]] * 3 + [[0] * 4])
)
ONE_SLICE = Geometry.axial((1, 30, 41), (1.25, 0.83, 0.91), (-9.0, 3.1, 20.2))


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 30, SOURCE.shape).astype(np.float32)


def sampled(values: np.ndarray, target: Geometry, outside: float | None) -> np.ndarray:
    """The field on a grid, voxel by voxel."""
    matrix = SOURCE.inverse @ target.affine
    mode = "nearest" if outside is None else "constant"
    return ndimage.affine_transform(
        values, matrix[:3, :3], matrix[:3, 3], output_shape=target.shape, order=1, mode=mode, cval=outside or 0.0
    )


@pytest.mark.parametrize("target", [SOURCE, FINER, TURNED, ONE_SLICE])
@pytest.mark.parametrize("outside", [None, 0.0, FAR_MM])
def test_a_layer_on_parallel_axes_is_interpolated_linearly(values, target, outside):
    result = Layer(values, SOURCE, outside).on(target)
    assert result.dtype == np.float32
    assert np.array_equal(result, sampled(values, target, outside))


def test_a_layer_on_a_tilted_grid_is_sampled_too(values):
    affine = FINER.affine.copy()
    affine[:3, :3] = Rotation.from_euler("x", 12, degrees=True).as_matrix() @ affine[:3, :3]
    tilted = Geometry(FINER.shape, affine)
    assert Layer(values, SOURCE).on(tilted) == pytest.approx(sampled(values, tilted, None), abs=1e-3)


def test_a_layer_of_one_node_along_an_axis_is_constant_there():
    flat = Layer(np.full((1, 2, 2), 7.0, np.float32), Geometry.axial((1, 2, 2), (5.0, 5.0, 5.0), (0.0, 0.0, 0.0)))
    assert (flat.on(Geometry.axial((3, 2, 2), (5.0, 5.0, 5.0), (0.0, 0.0, -5.0))) == 7.0).all()


def test_coordinates_are_the_voxels_places():
    x, y, z = np.broadcast_arrays(*coordinates(TURNED))
    index = np.argwhere(np.ones(TURNED.shape, bool))
    assert np.stack([x, y, z], -1).reshape(-1, 3) == pytest.approx(TURNED.to_patient(index), abs=1e-4)


def test_a_blended_edge_is_a_linear_ramp():
    hu = np.zeros((1, 1, 5), np.float32)
    blend(hu, np.float32(100), np.array([[[-2.0, -0.5, 0.0, 0.25, 2.0]]], np.float32), ramp=1.0)
    assert hu.ravel() == pytest.approx([100, 100, 50, 25, 0])


def test_a_blend_keeps_to_where_it_is_allowed():
    hu = np.zeros((1, 1, 2), np.float32)
    blend(hu, np.float32(100), np.full((1, 1, 2), -5, np.float32), ramp=1.0, where=np.array([[[0.0, 0.5]]]))
    assert hu.ravel() == pytest.approx([0, 50])


def test_smoothstep_goes_from_0_to_1_without_a_kink():
    assert smoothstep(np.array([-1.0, 0, 0.5, 1, 2])) == pytest.approx([0, 0, 0.5, 1, 1])
    assert smoothstep(np.array([0.01])) < 0.001


def test_the_distance_to_a_slab_is_zero_at_its_border():
    inside = np.zeros((40, 12, 12), bool)
    inside[12:24] = True
    profile = signed_distance(inside, (2.0, 2.0, 2.0))[:, 6, 6]
    assert profile[9:15] == pytest.approx([5, 3, 1, -1, -3, -5], abs=0.4)
    assert profile[18] == pytest.approx(-11, abs=1.0)
    assert (profile[30:] > 10).all()


def test_noise_has_about_unit_variance_and_its_grain():
    low, high = np.zeros(3), np.full(3, 120.0)
    layer = noise_layer(np.random.default_rng(1), 6.0, low, high)
    fine = layer.on(Geometry.axial((60, 60, 60), (2.0,) * 3, (0.0, 0.0, 0.0)))
    assert 0.6 < fine.std() < 1.2
    assert np.abs(np.diff(fine, axis=0)).mean() < 0.5 * fine.std()
