"""The confidence of an outline is the width over which the probabilities fall, where the surface is most uncertain."""

import numpy as np
import pytest

from segmenter.vnet.confidence import LOW_MM, MEDIUM_MM, confidence, level_of
from segmenter.vnet.grids import FINE_MM
from segmenter.volume.femur import Level
from segmenter.volume.geometry import Geometry

RADIUS_MM = 24.0
WINDOW = Geometry.axial((48, 48, 48), (FINE_MM,) * 3, (0.0, 0.0, 0.0))
OFFSET = WINDOW.to_patient(np.moveaxis(np.indices(WINDOW.shape), 0, -1)) - WINDOW.corners().mean(axis=0)
DISTANCE = np.linalg.norm(OFFSET, axis=-1) - RADIUS_MM


def ball(width_mm: float | np.ndarray) -> np.ndarray:
    """The probabilities of a ball, which fall evenly over so many mm."""
    return np.clip(0.5 - DISTANCE / width_mm, 0, 1).astype(np.float32)


def of(probability: np.ndarray, scan: Geometry = WINDOW):
    return confidence(probability, probability > 0.5, WINDOW, scan)


def cap(share: float) -> np.ndarray:
    """Where the upper part of the ball is, with such a share of its surface: a sphere's caps grow with their height."""
    return OFFSET[..., 2] > RADIUS_MM * (1 - 2 * share)


@pytest.mark.parametrize("width_mm", [3.0, 4.5, 6.0, 9.0])
def test_the_width_is_that_over_which_the_probabilities_fall(width_mm: float):
    # A block that holds only the middle of the zone makes it wider than it is, by half at most.
    assert 0.95 < of(ball(width_mm)).width_mm / width_mm < 1.3


def test_a_sure_outline_has_a_high_confidence_and_a_blurred_one_a_low_one():
    assert of(ball(FINE_MM)).level is Level.HIGH
    assert of(ball(7.0)).level is Level.LOW


@pytest.mark.parametrize(("width_mm", "level"), [
    (0.0, Level.HIGH), (MEDIUM_MM - 0.01, Level.HIGH), (MEDIUM_MM, Level.MEDIUM), (LOW_MM - 0.01, Level.MEDIUM),
    (LOW_MM, Level.LOW), (99.0, Level.LOW),
])  # fmt: skip
def test_levels(width_mm: float, level: Level):
    assert level_of(width_mm) is level


def test_a_fifth_of_the_surface_in_doubt_is_enough_and_a_twentieth_is_not():
    assert of(ball(np.where(cap(0.2), 8.0, 2.0))).level is Level.LOW
    assert of(ball(np.where(cap(0.03), 8.0, 2.0))).level is Level.HIGH


def test_doubt_about_other_bones_does_not_count():
    alone = ball(2.0)
    both = alone.copy()
    both[:8, :8, :8] = 0.4
    assert confidence(both, alone > 0.5, WINDOW, WINDOW) == of(alone)


def test_what_lies_outside_the_scan_does_not_count():
    below = Geometry.axial((24, 48, 48), (FINE_MM,) * 3, (0.0, 0.0, 0.0))  # the lower half of the window
    doubtful_above = ball(np.where(OFFSET[..., 2] > 2 * FINE_MM, 9.0, 2.0))
    assert of(doubtful_above).level is Level.LOW
    assert of(doubtful_above, below).level is Level.HIGH


def test_without_a_surface_in_the_scan_there_is_no_confidence():
    assert of(np.zeros(WINDOW.shape, np.float32)) is None
    elsewhere = Geometry.axial((9, 9, 9), (1.0, 1.0, 1.0), (500.0, 0.0, 0.0))
    assert of(ball(2.0), elsewhere) is None
    assert of(np.ones(WINDOW.shape, np.float32)) is None


def test_the_place_in_the_window_hardly_matters():
    widths = [of(np.roll(ball(4.0), shift, axis=(0, 1, 2))).width_mm for shift in range(4)]
    assert np.ptp(widths) < 0.3
