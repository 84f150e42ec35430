"""Arthritic hips: closed joints, flattened heads; and scans that are poor in every way."""

from dataclasses import replace

import numpy as np
import pytest

from segmenter.synth.femur_field import FemurField, Landmarks
from segmenter.synth.inclusions import Place
from segmenter.synth.poor_scans import edges_kept, poor_protocol, poor_scan, resampled_twice
from segmenter.synth.sampling import PatientOptions, sample_patient
from segmenter.synth.tissues import Tissues
from segmenter.synth.wear import sclerosis, worn, worn_joint
from segmenter.volume.femur import Side
from segmenter.volume.geometry import Geometry

GRID = Geometry.axial((41, 41, 41), (2.0, 2.0, 2.0), (-40.0, -40.0, -40.0))
MARKS = Landmarks(
    np.zeros(3),
    22.0,
    np.array([30.0, 0, -30.0]),
    np.array([40.0, 0, -60.0]),
    np.array([0.7, 0, -0.71]),
    np.array([0, 0, -1.0]),
    np.array([-1.0, 0, 0]),
)
SPACING = (1.5, 1.5, 1.5)


def ball() -> FemurField:
    index = np.stack(np.meshgrid(*map(np.arange, GRID.shape), indexing="ij"), axis=-1)
    distance = (np.linalg.norm(GRID.to_patient(index), axis=-1) - 22.0).astype(np.float32)
    return FemurField(GRID, distance, np.zeros(GRID.shape, np.float32), MARKS)


def test_joints_close_and_shells_get_thin():
    base = Tissues.sample(np.random.default_rng(0), 0.5)
    drawn = [worn_joint(base, np.random.default_rng(n)) for n in range(60)]
    spaces = np.array([t.joint_mm for t in drawn])
    assert (spaces < 0.5).mean() > 0.08
    assert spaces.max() > 3.5
    assert min(t.thin_cortex_mm for t in drawn) < 0.3
    assert all(replace(t, joint_mm=0, joint=0, socket_mm=0, thin_cortex_mm=0).head == base.head for t in drawn)


def test_worn_heads_change_near_their_surface_only_and_stay_heads():
    before = ball().distance
    for seed in range(8):
        after = worn(ball(), np.random.default_rng(seed)).distance
        assert after.dtype == np.float32
        assert 0.75 < (after < 0).sum() / (before < 0).sum() < 1.25
        assert after[20, 20, 20] < -10
    flattened = [(worn(ball(), np.random.default_rng(s)).distance[:, 20, 20] < 0).sum() for s in range(20)]
    assert min(flattened) < (before[:, 20, 20] < 0).sum()


def test_dense_bone_and_cysts_lie_in_bone_about_the_joint():
    tissues = Tissues.sample(np.random.default_rng(0))
    found = [c for n in range(20) for c in sclerosis(np.random.default_rng(n), tissues, MARKS)]
    assert found
    assert all(c.place is Place.BONE for c in found)
    assert all(np.linalg.norm((c.start + c.end) / 2) < 1.4 * 22.0 for c in found)


@pytest.mark.timeout(600)
def test_without_wear_a_patient_is_who_it_was():
    plain = sample_patient(np.random.default_rng(3), PatientOptions(metal=False))
    worn_out = sample_patient(np.random.default_rng(3), PatientOptions(metal=False, wear=1.0))
    assert (plain.shape == worn_out.shape).all()
    assert plain.tissues.head == worn_out.tissues.head
    assert plain.capsules[-1].hu == worn_out.capsules[-1].hu
    assert not np.array_equal(plain.femurs[Side.LEFT].distance, worn_out.femurs[Side.LEFT].distance)


def test_poor_protocols_cover_what_is_asked():
    drawn = [poor_protocol(np.random.default_rng(n)) for n in range(200)]
    assert max(p.blur_mm for p in drawn) > 1.5
    assert max(p.thickness_mm for p in drawn) > 4.5
    assert min(p.step_mm / p.thickness_mm for p in drawn) < 0.8
    assert max(p.step_mm / p.thickness_mm for p in drawn) > 1.2


def test_an_edge_stays_where_noise_goes():
    image = np.zeros((8, 32, 32), np.float32)
    image[:, :, 16:] = 800
    noisy = image + np.random.default_rng(0).normal(0, 20, image.shape).astype(np.float32)
    smooth = edges_kept(noisy, SPACING, 1.5, 150.0)
    assert smooth[:, :, :10].std() < 0.5 * noisy[:, :, :10].std()
    assert smooth[:, :, 18].mean() - smooth[:, :, 13].mean() > 700


def test_what_was_resampled_twice_lies_where_it_was():
    z, y, x = np.indices((30, 30, 30)) - 15.0
    image = (np.exp(-(z**2 + y**2 + x**2) / 50) * 500).astype(np.float32)
    again = resampled_twice(image, SPACING, (3.0, 3.0, 3.0), np.random.default_rng(1))
    assert again.shape == image.shape
    centre = [(again * axis).sum() / again.sum() for axis in (z, y, x)]
    assert centre == pytest.approx([0, 0, 0], abs=0.15)
    assert again.max() < image.max()


def test_a_poor_scan_is_a_function_of_its_dice():
    hu = np.zeros((16, 16, 16), np.float32)
    hu[4:12, 4:12, 4:12] = 900
    one, two = (poor_scan(hu, SPACING, np.random.default_rng(5)) for _ in range(2))
    assert (one == two).all()
    assert one.shape == hu.shape
