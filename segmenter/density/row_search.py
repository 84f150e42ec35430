"""Candidate positions of a phantom: rows of uniform discs, block by block, whose HU fit a line.

All positions are tried at once: per block the mean and the spread of a disc about every pixel, then for each turn and
spacing of the row the pixels of its rods.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segmenter.density.template import SLOPE_HU_PER_MG_CM3, FloatArray, Template
from segmenter.density.thick_slabs import PIXEL_MM, Blocks

TURNS_DEG = (-16.0, -12.0, -8.0, -4.0, 0.0, 4.0, 8.0, 12.0, 16.0)  # of the row about the table's axis
SCALES = (0.95, 1.0, 1.05)  # of the spacing in the settings, which may be inexact
DISC = 0.6  # of a rod's radius: the disc that is evaluated
SPREAD_HU = 40.0  # of a block within a disc; anatomy varies more, noise is averaged out
LEAST_HU = -300.0  # less dense than any rod
SPARE_FROM = 5  # rods: with as many, one may be hidden
PER_BLOCK = 6
STRIDE = 2  # pixels from one position to the next
WIDE = 0.8  # of the smallest range of HU that the rods must have before a line is fitted


@dataclass(frozen=True)
class Candidate:
    """A place in one block: middle of the row (LPS mm), turn of the row (degrees), its spacing, and how well it fits.

    flipped: the last rod of the settings comes first (lowest LPS x). whole: all rods are seen.
    """

    block: int
    x_mm: float
    y_mm: float
    turn_deg: float
    scale: float
    flipped: bool
    whole: bool
    r2: float


@dataclass(frozen=True, eq=False)
class Discs:
    """Mean and standard deviation of HU in a disc about every pixel, `(b, y, x)`."""

    mean: NDArray[np.float32]
    spread: NDArray[np.float32]


def make_discs(blocks: Blocks, radius_mm: float) -> Discs:
    """Return the discs of `DISC` times a rod's radius."""
    reach = DISC * radius_mm / PIXEL_MM
    n = int(np.ceil(reach))
    y, x = np.ogrid[-n : n + 1, -n : n + 1]
    kernel = (np.hypot(y, x) <= reach).astype(np.float32)
    kernel /= kernel.sum()
    mean = ndimage.convolve(blocks.images, kernel[None], mode="nearest")
    square = ndimage.convolve(blocks.images**2, kernel[None], mode="nearest")
    return Discs(mean, np.sqrt(np.maximum(square - mean**2, 0)))


def candidates(blocks: Blocks, discs: Discs, template: Template) -> list[Candidate]:
    """Return the best positions of every block, with either end first, those that fit best before the others."""
    found = [
        candidate
        for flipped, form in ((False, template), (True, template.mirrored))
        for turn in TURNS_DEG
        for scale in SCALES
        for candidate in _at(blocks, discs, form, (turn, scale, flipped))
    ]
    found.sort(key=lambda c: -c.r2)
    kept: list[Candidate] = []
    kinds: defaultdict[tuple[int, bool, bool], list[Candidate]] = defaultdict(list)
    for candidate in found:
        rivals = kinds[candidate.block, candidate.flipped, candidate.whole]
        near = any(np.hypot(c.x_mm - candidate.x_mm, c.y_mm - candidate.y_mm) < template.radius for c in rivals)
        if len(rivals) < PER_BLOCK and not near:
            rivals.append(candidate)
            kept.append(candidate)
    return kept


def _at(blocks: Blocks, discs: Discs, form: Template, how: tuple[float, float, bool]) -> Iterator[Candidate]:
    """Yield the positions where a row with this turn (degrees), spacing and orientation fits."""
    turn, scale, flipped = how
    along = np.radians(turn)
    shifts = np.rint(np.outer(form.offsets * scale, (np.sin(along), np.cos(along))) / PIXEL_MM).astype(int)
    rows, columns = discs.mean.shape[1:]
    down, across = np.abs(shifts).max(axis=0)
    if rows <= 2 * down or columns <= 2 * across:
        return
    windows = [
        (slice(None), slice(down + dy, rows - down + dy, STRIDE), slice(across + dx, columns - across + dx, STRIDE))
        for dy, dx in shifts
    ]
    even = (discs.spread < SPREAD_HU) & (discs.mean > LEAST_HU) & blocks.allowed[:, :, None]
    fitting = np.sum([even[window] for window in windows], axis=0, dtype=np.int8)
    at = np.nonzero(fitting >= form.count - (form.count >= SPARE_FROM))
    if not len(at[0]):
        return
    hu = np.stack([discs.mean[window][at] for window in windows]).astype(float)
    use = np.stack([even[window][at] for window in windows])
    worth = wide(hu, use, form)
    block, row, column = (index[worth] for index in at)
    r2, whole = fits(hu[:, worth], use[:, worth], form)
    for number in np.unique(block[r2 > 0]):
        mine = np.flatnonzero((block == number) & (r2 > 0))
        for n in mine[np.argsort(-r2[mine], kind="stable")][:PER_BLOCK]:
            x, y = blocks.x(column[n] * STRIDE + across), blocks.y(row[n] * STRIDE + down)
            yield Candidate(int(number), float(x), float(y), turn, scale, flipped, bool(whole[n]), float(r2[n]))


def wide(hu: FloatArray, use: NDArray[np.bool_], form: Template) -> NDArray[np.bool_]:
    """Return at which positions `(p,)` the HU `(n, p)` vary enough for the rods; those of most tissue do not."""
    y = hu - form.waters[:, None]
    reach = np.where(use, y, -np.inf).max(axis=0) - np.where(use, y, np.inf).min(axis=0)
    least = np.sort(form.densities)[1 if form.count >= SPARE_FROM else 0 :]
    most = least[: -1 if form.count >= SPARE_FROM else None]
    result: NDArray[np.bool_] = reach > WIDE * SLOPE_HU_PER_MG_CM3[0] * (most[-1] - most[0])
    return result


def fits(hu: FloatArray, use: NDArray[np.bool_], form: Template) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Return r2 `(p,)` of the lines through the rods' HU `(n, p)` at p positions; 0 for an implausible line.

    use: which discs count. Of five rods or more, one off the line of the others may be left out; the second value is
    True where none was left out.
    """
    r2, off = _lines(hu, use, form)
    if form.count >= SPARE_FROM:
        worst = np.where(use, off, -1).argmax(axis=0)
        without = use.copy()
        without[worst, np.arange(hu.shape[1])] &= ~use.all(axis=0)
        use = np.where(r2 > 0, use, without)
        r2 = np.where(r2 > 0, r2, _lines(hu, use, form)[0])
    return r2, np.asarray(use.all(axis=0))


def _lines(hu: FloatArray, use: NDArray[np.bool_], form: Template) -> tuple[FloatArray, FloatArray]:
    """Return r2 `(p,)`, 0 for an implausible line, and how far every rod lies from its line, HU `(n, p)`."""
    x, y = form.densities[:, None], hu - form.waters[:, None]
    count = use.sum(axis=0)
    dx = np.where(use, x - (use * x).sum(axis=0) / count, 0)
    dy = np.where(use, y - (use * y).sum(axis=0) / count, 0)
    slope = (dx * dy).sum(axis=0) / (dx**2).sum(axis=0)
    off = dy - slope * dx
    r2 = 1 - (off**2).sum(axis=0) / np.maximum((dy**2).sum(axis=0), 1e-9)
    intercept = (use * (y - slope * x)).sum(axis=0) / count
    return np.where(form.possible(slope, intercept, r2), r2, 0.0), np.abs(off)
