"""Beam hardening: true projections, a dark band between dense bodies, nothing where there is no bone."""

import numpy as np
import pytest

from segmenter.synth.artefacts import ANGLES, artefacts, projector, reconstruct

ROWS, COLUMNS = 56, 72


def disc(x: float, y: float, radius: float) -> np.ndarray:
    """A disc `(1, y, x)` around the image's middle plus (x, y), with soft edges, pixels."""
    rows, columns = np.indices((ROWS, COLUMNS), float)
    away = np.hypot(columns - (COLUMNS - 1) / 2 - x, rows - (ROWS - 1) / 2 - y)
    return np.clip(radius + 0.5 - away, 0, 1).astype(np.float32)[None]


def test_the_projection_of_a_disc_is_its_chord_at_every_angle():
    radius, x, y = 15.0, 6.0, -4.0
    rays = (projector(ROWS, COLUMNS) @ disc(x, y, radius).ravel()).reshape(ANGLES, -1)
    angle = np.arange(ANGLES) * np.pi / ANGLES
    detector = np.arange(rays.shape[1]) - (rays.shape[1] - 1) / 2
    offset = detector - (x * np.cos(angle) + y * np.sin(angle))[:, None]
    chord = 2 * np.sqrt(np.maximum(radius**2 - offset**2, 0))
    inner = np.abs(offset) < radius - 2
    assert np.abs(rays - chord)[inner].mean() < 0.5
    assert np.abs(rays[np.abs(offset) > radius + 2]).max() == 0
    assert rays.sum(axis=1) == pytest.approx(np.full(ANGLES, disc(x, y, radius).sum()), rel=1e-4)


def test_filtered_and_projected_back_the_disc_returns():
    image = disc(3.0, 5.0, 14.0)
    rays = (projector(ROWS, COLUMNS) @ image.reshape(1, -1).T).reshape(ANGLES, -1, 1)
    result = reconstruct(rays, ROWS, COLUMNS)
    assert result.shape == image.shape
    assert result[image == 1].mean() == pytest.approx(1.0, abs=0.05)
    assert np.abs(result[disc(3.0, 5.0, 18.0) == 0]).mean() < 0.05


def test_between_two_dense_bodies_there_is_a_dark_band():
    bone = 1000 * (disc(-18.0, 0.0, 7.0) + disc(18.0, 0.0, 7.0))
    change = artefacts(bone, np.zeros_like(bone), 2.0, (30.0, 0.0), np.random.default_rng(0))
    middle = change[0, ROWS // 2 - 2 : ROWS // 2 + 3, COLUMNS // 2 - 5 : COLUMNS // 2 + 5].mean()
    above = change[0, 4:9, COLUMNS // 2 - 5 : COLUMNS // 2 + 5].mean()
    assert middle < above - 5
    assert np.percentile(change, 1) == pytest.approx(-30, rel=0.05)


def test_without_bone_there_is_no_artefact():
    empty = np.zeros((2, ROWS, COLUMNS), np.float32)
    assert not artefacts(empty, empty, 2.0, (30.0, 200.0), np.random.default_rng(0)).any()


def test_metal_sends_streaks_through_its_own_slices_only():
    metal = np.concatenate([disc(-18.0, 0.0, 6.0), np.zeros((1, ROWS, COLUMNS), np.float32)])
    bone = np.concatenate([1000 * disc(18.0, 0.0, 7.0)] * 2)
    change = artefacts(bone, metal, 2.0, (10.0, 200.0), np.random.default_rng(1))
    assert change[0].std() > 3 * change[1].std()
    assert change[0].min() < -100
    assert np.abs(change[1]).max() <= 60.001
