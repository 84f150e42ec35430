"""Candidates of the blocks joined to one straight phantom, in a time that grows with the length of the scan."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmenter.density.placement import Placement
from segmenter.density.row_search import Candidate
from segmenter.density.template import FloatArray
from segmenter.density.thick_slabs import Blocks

MOST_TILT = 0.27  # mm sideways per mm along the table, 15 degrees: beyond it rows of rods cannot be distinguished
STRAY_MM = 6.0  # of a block's candidate from the straight line; candidates lie anywhere within their rods
TURN_STRAY_DEG = 9.0
LEAST_LENGTH_MM = 30.0
LEAST_SHARE = 0.25  # of the blocks
WINDOW = 30  # blocks, 450 mm, within which all pairs are tried


def join(candidates: Sequence[Candidate], blocks: Blocks) -> Placement | None:
    """Return the straight phantom that most blocks agree on, or None if too few do.

    All pairs of candidates in a window of the scan are tried. In a scan longer than the window, the best line of all
    windows is followed to both sides.
    """
    table = _Table.of(candidates, blocks.grid.spacing[0])
    total = blocks.grid.shape[0]
    best: NDArray[np.intp] = np.empty(0, np.intp)
    for low in range(0, max(total - WINDOW // 2, 1), WINDOW // 2):
        inside = np.flatnonzero((table.block >= low) & (table.block < low + WINDOW))
        best = max(best, table.best_line(inside), key=table.rank)
    best = table.followed(best) if total > WINDOW else best
    length = len(best) * blocks.grid.spacing[0]
    if length < LEAST_LENGTH_MM or len(best) < LEAST_SHARE * total:
        return None
    heights = blocks.z(table.block[best])
    points = table.at[best]
    drift = _slopes(heights, points)
    half = blocks.grid.spacing[0] / 2
    return Placement(
        np.median(points - heights[:, None] * drift, axis=0),
        drift,
        float(np.median(table.turn[best])),
        float(np.mean(table.scale[best])),
        bool(table.flipped[best[0]]),
        float(heights.min() - half),
        float(heights.max() + half),
    )


@dataclass(frozen=True, eq=False)
class _Table:
    """The candidates as columns `(n,)`, sorted by block; at: x and y, mm `(n, 2)`. step: from block to block, mm.

    order: their places in the list, which is sorted by r2.
    """

    order: NDArray[np.intp]
    block: NDArray[np.intp]
    at: FloatArray
    turn: FloatArray
    scale: FloatArray
    r2: FloatArray
    flipped: NDArray[np.bool_]
    step: float

    @classmethod
    def of(cls, candidates: Sequence[Candidate], step: float) -> "_Table":
        """Return the table; the candidates of one block keep their order."""
        order = np.array(sorted(range(len(candidates)), key=lambda n: candidates[n].block), np.intp)
        ordered = [candidates[n] for n in order]
        return cls(
            order,
            np.array([c.block for c in ordered], np.intp),
            np.array([(c.x_mm, c.y_mm) for c in ordered], float).reshape(-1, 2),
            np.array([c.turn_deg for c in ordered], float),
            np.array([c.scale for c in ordered], float),
            np.array([c.r2 for c in ordered], float),
            np.array([c.flipped for c in ordered], bool),
            step,
        )

    def rank(self, members: NDArray[np.intp]) -> tuple[int, float]:
        """Return what the best line has most of: blocks, then the sum of r2."""
        return len(members), float(self.r2[members].sum())

    def best_line(self, inside: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the members of the best line through two of these candidates, one a block."""
        best: NDArray[np.intp] = np.empty(0, np.intp)
        for first in inside:
            alike = inside[self._alike(self.flipped[first], self.turn[first])[inside]]
            # Of a pair, the candidate that fits better is the first: the others must be turned as it is.
            second = alike[(self.order[alike] > self.order[first]) & (self.block[alike] != self.block[first])]
            drift = (self.at[second] - self.at[first]) / ((self.block[second] - self.block[first]) * self.step)[:, None]
            drift = drift[np.hypot(drift[:, 0], drift[:, 1]) <= MOST_TILT]
            if len(drift):
                best = max(best, self._most_members(first, drift, alike, len(best)), key=self.rank)
        return best

    def followed(self, members: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the members of a line and those that lie on it beyond its ends."""
        while len(members):
            block = self.block[members]
            drift = _slopes(np.asarray(block * self.step, float), self.at[members])
            middle = np.median(self.at[members] - (block * self.step)[:, None] * drift, axis=0)
            near = self._alike(self.flipped[members[0]], np.median(self.turn[members]))
            near &= (self.block >= block.min() - WINDOW // 2) & (self.block <= block.max() + WINDOW // 2)
            inside = np.flatnonzero(near)
            away = self._away(inside, middle, 0, drift[None])
            index, nearest = _of_blocks(away, self.block[inside])
            longer = inside[index[0][nearest[0] <= STRAY_MM]]
            if len(longer) <= len(members):
                break
            members = longer
        return members

    def _most_members(self, first: np.intp, drift: FloatArray, alike: NDArray[np.intp], least: int) -> NDArray[np.intp]:
        """Return the members of the best of the lines through `first`, none if they have fewer than `least`."""
        away = self._away(alike, self.at[first], self.block[first], drift)
        starts = _starts(self.block[alike])
        counts = (np.minimum.reduceat(away, starts, axis=1) <= STRAY_MM).sum(axis=1)
        if counts.max() < least:
            return alike[:0]
        index, nearest = _of_blocks(away[counts == counts.max()], self.block[alike])
        on = nearest <= STRAY_MM
        line = int(np.argmax((self.r2[alike][index] * on).sum(axis=1)))
        members: NDArray[np.intp] = alike[index[line][on[line]]]
        return members

    def _alike(self, flipped: np.bool_, turn: np.floating) -> NDArray[np.bool_]:
        """Return which candidates have the same end first and are turned by nearly as much."""
        result: NDArray[np.bool_] = (self.flipped == flipped) & (np.abs(self.turn - turn) <= TURN_STRAY_DEG)
        return result

    def _away(self, which: NDArray[np.intp], point: FloatArray, block: np.intp | int, drift: FloatArray) -> FloatArray:
        """Return the distance `(l, n)`, mm, of n candidates from l lines through a point of a block."""
        height = (self.block[which] - block) * self.step
        x, y = (self.at[which, n] - point[n] - np.outer(drift[:, n], height) for n in (0, 1))
        result: FloatArray = np.hypot(x, y)
        return result


def _starts(blocks: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return where in a sorted column `(n,)` a new block begins."""
    return np.flatnonzero(np.r_[True, np.diff(blocks) > 0])


def _of_blocks(away: FloatArray, blocks: NDArray[np.intp]) -> tuple[NDArray[np.intp], FloatArray]:
    """Return number and distance `(l, b)` of the candidate of each block that is nearest to each line.

    away: distances `(l, n)`; blocks: of the candidates `(n,)`, sorted.
    """
    starts = _starts(blocks)
    ends = np.append(starts[1:], len(blocks))
    index = np.stack([a + away[:, a:b].argmin(axis=1) for a, b in zip(starts, ends, strict=True)], axis=1)
    return index, np.take_along_axis(away, index, axis=1)


def _slopes(heights: FloatArray, points: FloatArray) -> FloatArray:
    """Return the median of the slopes between all pairs (Theil and Sen) of x and y over the height."""
    a, b = np.triu_indices(len(heights), 1)
    rise = heights[b] - heights[a]
    a, b, rise = a[rise != 0], b[rise != 0], rise[rise != 0]
    slopes: FloatArray = np.median((points[b] - points[a]) / rise[:, None], axis=0)
    return slopes
