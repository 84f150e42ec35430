"""Candidates are joined to the straight phantom that most blocks agree on, in a time that grows with the scan only."""

import time
from itertools import combinations

import numpy as np
import pytest

from segmenter.density.joining import MOST_TILT, STRAY_MM, TURN_STRAY_DEG, join
from segmenter.density.row_search import Candidate
from segmenter.density.thick_slabs import Blocks
from segmenter.volume.geometry import Geometry

STEP_MM = 15.0


def blocks_of(count: int) -> Blocks:
    """Return blocks of which only the number and the places count."""
    grid = Geometry.axial((count, 2, 2), (STEP_MM, 1.5, 1.5), (0.0, 0.0, -300.0))
    return Blocks(np.zeros(grid.shape, np.float32), grid, np.ones(grid.shape[:2], bool))


def noise(count: int, each: int, seed: int) -> list[Candidate]:
    """Return candidates anywhere behind the patient, the best first."""
    rng = np.random.default_rng(seed)
    found = [
        Candidate(
            block, rng.uniform(-60, 60), rng.uniform(90, 130), float(rng.choice([-8, -4, 0, 4, 8])),
            float(rng.choice([0.95, 1.0, 1.05])), bool(rng.random() < 0.5), True, rng.uniform(0.9, 0.99),
        )
        for block in range(count)
        for _ in range(each)
    ]  # fmt: skip
    return sorted(found, key=lambda c: -c.r2)


def rods(at: range, drift: float = 0.05, seed: int = 1) -> list[Candidate]:
    """Return the candidates of a phantom that leans by `drift` mm per mm, within 2 mm of its line."""
    rng = np.random.default_rng(seed)
    at_mm = [np.array((10 + drift * STEP_MM * n, 140)) + rng.uniform(-1.4, 1.4, 2) for n in at]
    return [Candidate(n, float(x), float(y), 0.0, 1.0, False, True, 0.99) for n, (x, y) in zip(at, at_mm, strict=True)]


def best_members(candidates: list[Candidate]) -> list[Candidate]:
    """Return the members of the best line, by trying every pair of candidates in the plainest way."""
    best: list[Candidate] = []
    for first, second in combinations(candidates, 2):
        apart = (second.block - first.block) * STEP_MM
        alike = [
            c for c in candidates if c.flipped == first.flipped and abs(c.turn_deg - first.turn_deg) <= TURN_STRAY_DEG
        ]
        if not apart or second not in alike:
            continue
        drift = np.array([second.x_mm - first.x_mm, second.y_mm - first.y_mm]) / apart
        if np.hypot(*drift) > MOST_TILT:
            continue
        nearest: dict[int, tuple[float, Candidate]] = {}
        for other in alike:
            x, y = drift * (other.block - first.block) * STEP_MM
            away = float(np.hypot(other.x_mm - first.x_mm - x, other.y_mm - first.y_mm - y))
            if away <= STRAY_MM and away < nearest.get(other.block, (np.inf, other))[0]:
                nearest[other.block] = away, other
        best = max(best, [c for _, c in nearest.values()], key=lambda found: (len(found), sum(c.r2 for c in found)))
    return best


@pytest.mark.parametrize("seed", range(8))
def test_no_pair_of_candidates_gives_a_better_line(seed: int):
    candidates = noise(12, 5, seed)
    members = best_members(candidates)
    placement = join(candidates, blocks_of(12))
    assert placement is not None
    assert placement.flipped == members[0].flipped
    assert placement.turn_deg == np.median([c.turn_deg for c in members])
    assert placement.scale == pytest.approx(np.mean([c.scale for c in members]))
    assert round((placement.low_mm + 300) / STEP_MM + 0.5) == min(c.block for c in members)
    assert round((placement.high_mm + 300) / STEP_MM - 0.5) == max(c.block for c in members)
    off = [placement.middle + blocks_of(12).z(np.array(c.block)) * placement.drift - (c.x_mm, c.y_mm) for c in members]
    assert np.abs(np.median(off, axis=0)).max() < 1e-9


@pytest.mark.parametrize("count", [15, 30, 31, 75, 120])
def test_a_phantom_is_found_over_its_whole_length(count: int):
    candidates = sorted(noise(count, 4, 3) + rods(range(2, count - 1)), key=lambda c: -c.r2)
    placement = join(candidates, blocks_of(count))
    assert placement is not None
    assert (placement.low_mm, placement.high_mm) == pytest.approx(
        (-300 + 1.5 * STEP_MM, -300 + (count - 1.5) * STEP_MM)
    )
    assert placement.drift == pytest.approx((0.05, 0.0), abs=0.01)
    assert placement.middle + placement.drift * -300 == pytest.approx((10, 140), abs=2)


def test_a_phantom_in_a_part_of_a_long_scan_is_not_continued_into_the_rest():
    candidates = sorted(noise(100, 3, 5) + rods(range(20, 55)), key=lambda c: -c.r2)
    placement = join(candidates, blocks_of(100))
    assert placement is not None
    assert placement.low_mm == pytest.approx(-300 + 19.5 * STEP_MM, abs=2 * STEP_MM)
    assert placement.high_mm == pytest.approx(-300 + 54.5 * STEP_MM, abs=2 * STEP_MM)


def test_too_few_blocks_are_no_phantom():
    assert join([], blocks_of(20)) is None
    assert join(rods(range(1)), blocks_of(20)) is None
    assert join(rods(range(4)), blocks_of(20)) is None  # less than a quarter of the scan
    assert join(rods(range(5)), blocks_of(20)) is not None


def test_the_time_grows_with_the_scan_and_not_with_its_cube():
    seconds = {}
    for count in (30, 120):
        candidates, blocks = noise(count, 12, 7), blocks_of(count)
        began = time.process_time()
        join(candidates, blocks)
        seconds[count] = time.process_time() - began
    # Four times the blocks are seven windows instead of one; trying all pairs would be 64 times as slow.
    assert seconds[120] < 14 * seconds[30] + 0.5
