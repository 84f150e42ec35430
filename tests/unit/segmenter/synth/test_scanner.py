"""What the simulated scanner does to an image."""

from dataclasses import replace

import numpy as np
import pytest

from segmenter.synth.scanner import Protocol, field_of_view, interpolate, noise, scan

PLAIN = Protocol(
    blur_mm=0.0, sharpen=0.0, thickness_mm=0.5, step_mm=0.5, noise_hu=1e-6, grain_mm=0.6,
    streak=0.0, scale=1.0, offset_hu=0.0,
)  # fmt: skip
SPACING = (1.0, 1.0, 1.0)


def block() -> np.ndarray:
    volume = np.zeros((24, 16, 16), np.float32)
    volume[8:16, 4:12, 4:12] = 1000
    return volume


def test_a_perfect_scanner_changes_nothing():
    result = scan(block(), SPACING, PLAIN, np.random.default_rng(0))
    flat = [slice(1, 7), slice(9, 15), slice(17, -1)]  # slices begin anywhere: an edge may lie between two of them
    for part in flat:
        assert result[part] == pytest.approx(block()[part], abs=1e-3)
    assert result.sum() == pytest.approx(block().sum(), rel=0.01)


def test_thick_slices_blur_along_z_only():
    result = scan(block(), SPACING, replace(PLAIN, thickness_mm=5.0, step_mm=5.0), np.random.default_rng(1))
    profile = result[:, 8, 8]
    assert ((profile > 50) & (profile < 950)).sum() >= 4
    assert set(np.unique(np.round(result[12], -1))) <= {0.0, float(np.round(result[12, 8, 8], -1))}


def test_scale_and_offset_move_the_hu_axis():
    result = scan(block(), SPACING, replace(PLAIN, scale=1.02, offset_hu=-7.0), np.random.default_rng(2))
    assert result[0, 0, 0] == pytest.approx(-7, abs=0.1)
    assert result[12, 8, 8] == pytest.approx(1013, abs=0.1)


@pytest.mark.parametrize("streak", [0.0, 1.0])
def test_noise_has_the_asked_deviation(streak: float):
    values = noise((6, 64, 64), SPACING, replace(PLAIN, noise_hu=25.0, streak=streak), np.random.default_rng(3))
    assert values.std() == pytest.approx(25, rel=0.01)


def test_streaks_run_along_x():
    values = noise((6, 64, 64), SPACING, replace(PLAIN, noise_hu=25.0, streak=1.2), np.random.default_rng(4))
    along_x = np.corrcoef(values[:, :, :-6].ravel(), values[:, :, 6:].ravel())[0, 1]
    along_y = np.corrcoef(values[:, :-6].ravel(), values[:, 6:].ravel())[0, 1]
    assert along_x > along_y + 0.05


def test_interpolation_between_slices_is_linear():
    ramp = np.arange(5, dtype=np.float32)[:, None, None] * np.ones((1, 2, 2), np.float32)
    assert interpolate(ramp, np.array([0.0, 1.25, 4.0]))[:, 0, 0] == pytest.approx([0, 1.25, 4])


def test_outside_the_field_of_view_there_is_nothing():
    volume = block()
    field_of_view(volume, np.array([10, 0, 0]), np.array([14, 16, 8]))
    assert (volume[:10] == -1024).all()
    assert (volume[14:] == -1024).all()
    assert (volume[:, :, 8:] == -1024).all()
    assert volume[12, 8, 6] == 1000
