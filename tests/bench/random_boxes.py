"""Crop real scans at random boxes: nothing may be claimed where there is no femur, no head with its neck may be lost.

    python tests/bench/random_boxes.py --data ../shared/data/ct --boxes 200 [--model DIR] [--only NAME ...]

What is true in a box is what was outlined in the whole scan, by the reference where there is one; in the negatives
nothing is. A box holds head and neck where it holds the upper 60 mm of a femur whose head the scan holds; every second
box of a scan with such a femur is drawn around it. Printed are a line for each outline that is refused, each claim that
lies elsewhere or on the wrong side and each femur that is lost, and the counts at the end.
For investigational use.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from real_hips import scans

from segmenter.vnet.fine import segment_femurs
from segmenter.vnet.weights import load_models
from segmenter.volume.coverage import HEAD_CUT
from segmenter.volume.femur import Femur, Refusal, Side
from segmenter.volume.geometry import Geometry
from segmenter.volume.resample import cut

HEIGHT_MM, WIDTH_MM = (40.0, 220.0), (60.0, 220.0)
UPPER_MM, WHOLE = 60.0, 0.98  # of a femur; share of that in the box to count as held
TRUE, MUCH_ML = 0.5, 25.0  # share of a claim that must be true; femur in a box worth a count of its own


@dataclass(frozen=True, eq=False)
class Whole:
    """One whole scan and its femurs."""

    name: str
    volume: NDArray[Any]
    geometry: Geometry
    femurs: list[Femur]


def box(rng: np.random.Generator, whole: Whole, kept: tuple[slice, ...] | None = None) -> tuple[slice, ...]:
    """Draw a box, in it a few millimetres at least of what the scan holds, and all of `kept`."""
    size = np.array([rng.uniform(*HEIGHT_MM), rng.uniform(*WIDTH_MM), rng.uniform(*WIDTH_MM)]) / whole.geometry.spacing
    shape = np.array(whole.geometry.shape)
    first, last = np.zeros(3), np.maximum(shape - size, 0)
    if kept is not None:
        begin, end = np.array([at.start for at in kept]), np.array([at.stop for at in kept])
        size = np.minimum(np.maximum(size, end - begin), shape)
        first, last = np.maximum(end - size, 0), np.minimum(begin, shape - size)
    low = np.floor(rng.uniform(first, last)).astype(int)
    return cut(whole.geometry, low, np.minimum(low + np.ceil(size).astype(int) + 1, shape))[0]


def upper_end(femur: Femur, geometry: Geometry) -> NDArray[np.integer]:
    """Return the indices `(n, 3)` of the upper 60 mm of a femur."""
    index = np.argwhere(femur.mask)
    height = geometry.to_patient(index)[:, 2]
    return index[height > height.max() - UPPER_MM]


def boxes_of(whole: Whole, count: int, rng: np.random.Generator) -> Iterator[tuple[slice, ...]]:
    """Yield the boxes of a scan."""
    heads = [femur for femur in whole.femurs if HEAD_CUT not in femur.reasons]
    for number in range(count):
        kept = None
        if heads and number % 2:
            upper = upper_end(heads[number // 2 % len(heads)], whole.geometry)
            kept = tuple(slice(a, b) for a, b in zip(upper.min(axis=0), upper.max(axis=0) + 1, strict=True))
        yield box(rng, whole, kept)


def head_and_neck(femur: Femur, geometry: Geometry, at: tuple[slice, ...]) -> bool:
    """Return whether a box holds the upper end of a femur of which the scan holds it."""
    if HEAD_CUT in femur.reasons:
        return False
    upper = upper_end(femur, geometry)
    low, high = np.array([a.start for a in at]), np.array([a.stop for a in at])
    return bool(((upper >= low) & (upper < high)).all(axis=1).mean() >= WHOLE)


def judge(whole: Whole, at: tuple[slice, ...], models: Any) -> tuple[Counter[str], list[str]]:
    """Return the counts of one box and what is to be said about it."""
    low, high = np.array([a.start for a in at]), np.array([a.stop for a in at])
    _, geometry = cut(whole.geometry, low, high)
    said: list[Refusal] = []
    found = segment_femurs(whole.volume[at], geometry, models, on_refused=said.append)
    true = {femur.side: femur.mask[at] for femur in whole.femurs}
    nothing = np.zeros(geometry.shape, bool)
    counts, lines = Counter({"boxes": 1, "claims": len(found), "refused": len(said)}), [str(one) for one in said]
    where = f"{whole.name} {[(a.start, a.stop) for a in at]}"
    for femur in found:
        share = (femur.mask & true.get(femur.side, nothing)).sum() / femur.mask.sum()
        any_side = (femur.mask & np.any([nothing, *true.values()], axis=0)).sum() / femur.mask.sum()
        if share < TRUE:
            kind = "wrong side" if any_side >= TRUE else "not a femur"
            counts[kind] += 1
            lines.append(f"{kind.upper()}: {femur.side} {femur.mask.sum() * geometry.voxel_volume_mm3 / 1000:.0f} mL")
    sides: set[Side] = {femur.side for femur in found}
    for femur in whole.femurs:
        if true[femur.side].sum() * geometry.voxel_volume_mm3 / 1000 >= MUCH_ML:
            counts["with much femur"] += 1
            counts["of those claimed"] += femur.side in sides
        if head_and_neck(femur, whole.geometry, at):
            counts["with head and neck"] += 1
            if femur.side not in sides:
                counts["head and neck lost"] += 1
                lines.append(f"LOST: {femur.side} head and neck")
    return counts, [f"{where}: {line}" for line in lines]


@click.command()
@click.option("--data", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--boxes", default=200, show_default=True, type=click.IntRange(1), help="Of each scan.")
@click.option(
    "--model", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Default: the shipped one."
)
@click.option("--only", multiple=True, help="Name of a scan; may be given several times. Default: all.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0))
def main(data: Path, boxes: int, model: Path | None, only: tuple[str, ...], seed: int) -> None:
    """Judge random boxes of every scan below DATA."""
    models, total = load_models(model), Counter[str]()
    for number, (name, volume, geometry, truth) in enumerate(scans(data, only)):
        femurs = [] if name.startswith("negative ") else segment_femurs(volume, geometry, models)
        if truth is not None:
            femurs = [Femur(femur.side, truth, femur.complete, femur.reasons) for femur in femurs]
        rng = np.random.default_rng([seed, number])
        whole = Whole(name, volume, geometry, femurs)
        for at in boxes_of(whole, boxes, rng):
            counts, lines = judge(whole, at, models)
            total += counts
            for line in lines:
                print(line, flush=True)
    print(", ".join(f"{kind} {count}" for kind, count in total.items()))


if __name__ == "__main__":
    main()
