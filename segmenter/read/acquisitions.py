"""Choose the scan among the stacks of one series: acquisitions, phases, and stacks of an enhanced object."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

import numpy as np

from segmenter.errors import Reason, SegmenterError
from segmenter.read.slices import Slice
from segmenter.read.stacking import MIN_EXTENT_MM, MIN_SLICES, SAME_POSITION_MM, Stack, normal_of, place, stack

NAMED = 4  # stacks in a message

Parts = Mapping[str, Sequence[Slice]]  # by name, in the order of the names


def choose_stack(images: Sequence[Slice]) -> tuple[Stack, list[str]]:
    """Return the stack to segment, and warnings.

    All images together if they form one regular stack (a sequential scan numbers every slice as a separate
    acquisition). Otherwise the only acquisition that is large enough to be the scan, such as beside a few slices of
    bolus tracking. Raises SegmenterError(SEVERAL_STACKS) if several are large enough; if the series has only one part,
    the error says why it is not a stack.
    """
    parts = _parts(images)
    large = {name: part for name, part in parts.items() if _could_be_the_scan(part)}
    together = ""
    try:
        whole = stack(images)
    except SegmenterError as refusal:
        if len(parts) == 1 or not large:
            raise
        together = f" (together they do not form one stack: {refusal})"
    else:
        runs = _runs(whole.slices, parts)
        row = [name for name in large if name in runs]  # copies of a slice may all be of one acquisition
        if len(row) < 2:
            return whole, []
        if len(runs) == len(set(runs)):
            return whole, [f"{_names(row)} follow each other and were taken as one scan"]
    if len(large) > 1:
        described = "; ".join(_described(name, part) for name, part in list(large.items())[:NAMED])
        raise SegmenterError(
            Reason.SEVERAL_STACKS,
            f"the series holds {len(large)} stacks, and each could be the scan: {described}{together}: "
            "send the one to segment as a separate series",
        )
    ((name, part),) = large.items()
    others = [other for other in parts if other != name]
    left = len(images) - len(part)
    return stack(part), [f"only {name} taken: {left} images of {_names(others)} left out, too few to be the scan"]


def _parts(images: Sequence[Slice]) -> Parts:
    """Group the images by the marks that differ between them."""
    telling = [at for at, column in enumerate(zip(*(s.marks for s in images), strict=True)) if len(set(column)) > 1]
    parts: dict[str, list[Slice]] = {}
    for image in images:
        name = ", ".join(image.marks[at] for at in telling if image.marks[at])
        parts.setdefault(name or "images without a number", []).append(image)
    return dict(sorted(parts.items()))


def _could_be_the_scan(part: Sequence[Slice]) -> bool:
    """Return whether a part is long enough for a hip."""
    depths = np.sort(np.array([image.point for image in part]) @ normal_of(part[0]))
    steps = np.diff(depths)
    count = 1 + int((steps > SAME_POSITION_MM).sum())
    return count >= MIN_SLICES and float(depths[-1] - depths[0]) * count / (count - 1) >= MIN_EXTENT_MM


def _runs(slices: Sequence[Slice], parts: Parts) -> list[str]:
    """Return the names of the parts in slice order; a name recurs where the slices of two phases alternate."""
    names = {image: name for name, part in parts.items() for image in part}
    return [name for name, _ in groupby(slices, key=lambda image: names[image])]


def _described(name: str, part: Sequence[Slice]) -> str:
    normal = normal_of(part[0])
    ordered = sorted(part, key=lambda image: float(image.point @ normal))
    return f"{name} ({len(part)} images from {place(ordered[0], normal)} to {place(ordered[-1], normal)} mm)"


def _names(names: Iterable[str]) -> str:
    listed = list(names)
    more = [f"{len(listed) - NAMED} more"] if len(listed) > NAMED else []
    return " and ".join([", ".join(listed[:NAMED]), *more]) if more else " and ".join(listed)
