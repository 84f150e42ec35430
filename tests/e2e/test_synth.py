"""Synthetic patients: their anatomy is plausible, and each seed gives one patient."""

import numpy as np
import pytest

from segmenter.synth.atlas import load_atlas
from segmenter.synth.femur_field import fit_sphere, head_vertices, place, vertex_normals
from segmenter.synth.patient import Patient, Rendering
from segmenter.synth.sampling import PatientOptions, sample_patient
from segmenter.volume.femur import Side
from segmenter.volume.geometry import Geometry, box_geometry

OPTIONS = PatientOptions(body=3, metal=False, screws=False)


@pytest.fixture(scope="module")
def patient() -> Patient:
    return sample_patient(np.random.default_rng(5), OPTIONS)


@pytest.fixture(scope="module")
def grid(patient: Patient) -> Geometry:
    return box_geometry(patient.low, patient.high, 4.0)


@pytest.fixture(scope="module")
def rendering(patient: Patient, grid: Geometry) -> Rendering:
    return patient.render(grid)


def test_a_sphere_is_fitted_exactly():
    points = np.random.default_rng(0).standard_normal((40, 3))
    points = 23 * points / np.linalg.norm(points, axis=1, keepdims=True) + [3, -4, 100]
    centre, radius = fit_sphere(points)
    assert centre == pytest.approx([3, -4, 100])
    assert radius == pytest.approx(23)


def test_the_models_head_is_a_sphere_of_human_size():
    mean = load_atlas().femur.mean
    centre, radius = fit_sphere(mean[head_vertices()])
    error = np.linalg.norm(mean[head_vertices()] - centre, axis=1) - radius
    assert 20 < radius < 28
    assert np.abs(error).mean() < 1.0
    assert centre[0] < mean[:, 0].mean()  # medial: towards the patient's right in a left femur


def test_normals_point_out_of_the_bone_in_a_mirror_too():
    shape = load_atlas().femur
    for mirror in (1, -1):
        vertices = shape.mean * [mirror, 1, 1]
        normals = vertex_normals(vertices, shape.faces)
        head = head_vertices()
        centre, _ = fit_sphere(vertices[head])
        outward = np.einsum("ij,ij->i", normals[head], vertices[head] - centre)
        assert (outward > 0).mean() > 0.99


def test_a_new_femur_keeps_its_head_in_the_socket():
    atlas = load_atlas()
    for body in atlas.bodies:
        socket, _ = fit_sphere(place(atlas.femur, body.left, body.left.weights, np.zeros(3), 1.0)[head_vertices()])
        other = place(atlas.femur, body.left, np.full(6, 0.7), np.radians([5, -3, 10]), 1.0)
        assert fit_sphere(other[head_vertices()])[0] == pytest.approx(socket, abs=1e-6)


def test_left_is_left_and_both_heads_are_medial(patient: Patient, rendering: Rendering, grid: Geometry):
    centres = {}
    for side in Side:
        inside = grid.to_patient(np.argwhere(rendering.distance[side] < 0))
        centres[side] = inside.mean(axis=0)
    assert centres[Side.LEFT][0] > centres[Side.RIGHT][0] + 100
    middle = (centres[Side.LEFT][0] + centres[Side.RIGHT][0]) / 2
    for side in Side:
        head = patient.femurs[side].landmarks.head_centre
        shaft = grid.to_patient(np.argwhere((rendering.distance[side] < 0) & (rendering.depth[side] > 120)))
        assert abs(head[0] - middle) < np.abs(shaft[:, 0] - middle).mean()


def test_tissues_have_ct_numbers(rendering: Rendering, patient: Patient):
    distance = rendering.distance[Side.LEFT]
    shaft = rendering.depth[Side.LEFT] > 130
    head = (rendering.depth[Side.LEFT] < 40) & (distance < -8)
    assert rendering.hu[0, 0, 0] == pytest.approx(-1000, abs=30)  # beam hardening affects the air, too
    assert rendering.hu[(distance < 0) & (distance > -2) & shaft].mean() > 500
    assert 50 < rendering.hu[head].mean() < 700
    assert rendering.hu.max() < 2000


def test_the_joint_space_is_not_bone(rendering: Rendering, patient: Patient):
    distance = np.minimum(*rendering.distance.values())
    joint = (distance > 3.5) & (distance < 4.5)  # a voxel is 4 mm: beyond it neither bone should touch
    assert np.median(rendering.hu[joint]) < 150


def test_a_seed_is_a_patient(patient: Patient):
    again = sample_patient(np.random.default_rng(5), OPTIONS)
    other = sample_patient(np.random.default_rng(6), OPTIONS)
    assert again.tissues == patient.tissues != other.tissues
    for side in Side:
        assert np.array_equal(again.femurs[side].distance, patient.femurs[side].distance)
        assert again.femurs[side].landmarks.head_radius != other.femurs[side].landmarks.head_radius


def test_a_finer_grid_shows_the_same_volume(patient: Patient, rendering: Rendering, grid: Geometry):
    fine = box_geometry(patient.low, patient.high, 3.0)
    volume = {
        name: (r.distance[Side.RIGHT] < 0).sum() * g.voxel_volume_mm3
        for name, r, g in (("coarse", rendering, grid), ("fine", patient.render(fine), fine))
    }
    assert volume["fine"] == pytest.approx(volume["coarse"], rel=0.03)
