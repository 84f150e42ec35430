"""How many images a series should have, as its sender or a peer announces, and how many have arrived."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from node.decide.scan import ct_images, without_localisers
from node.records.instances import Header

SERIES_COUNT, IMAGES_IN_ACQUISITION = "series-count", "images-in-acquisition"  # names in `[intake] expect`


@dataclass(frozen=True)
class ExpectedCount:
    """found: how many of `total` have arrived; at most `total`, as more than announced is not a fault.

    source: who announced it. final: exactly the announced objects have arrived, so none can follow.
    """

    source: str
    found: int
    total: int
    final: bool = False


def expected_counts(
    headers: Sequence[Header], expected: int | None, source: str, kinds: Iterable[str]
) -> list[ExpectedCount]:
    """Return what is announced about a series.

    expected: the answer of a peer, of all objects of the series, with its name as `source`. kinds: which attributes
    are believed, as in `[intake] expect`.
    """
    known = []
    if expected is not None:
        # The peer may itself still be receiving: when its number is reached, more may follow.
        known.append(ExpectedCount(source, min(len(headers), expected), expected))
    if SERIES_COUNT in kinds:
        known += _of_series(headers)
    if IMAGES_IN_ACQUISITION in kinds:
        known += _of_acquisitions(headers)
    return known


def _of_series(headers: Sequence[Header]) -> list[ExpectedCount]:
    """Read Number of Series Related Instances (0020,1209): all objects of the series, localisers too (PS3.4 C.3.4)."""
    total = max((header.series_instances or 0 for header in headers), default=0)
    found = min(len(headers), total)
    return (
        [ExpectedCount("Number of Series Related Instances", found, total, final=len(headers) == total)]
        if total > 0
        else []
    )


def _of_acquisitions(headers: Sequence[Header]) -> list[ExpectedCount]:
    """Add up Images in Acquisition (0020,1002), which counts the images one acquisition gave (PS3.3 C.7.6.1).

    Localisers are acquisitions of their own. Reformations and objects with many frames carry the number of the images
    they were made of, so one of them makes it worthless. Another acquisition may follow, so the sum is never final.
    """
    images = without_localisers(ct_images(headers))
    if any(image.frames > 1 or image.image_type[:1] == ("DERIVED",) for image in images):
        return []
    by_acquisition: dict[int | None, list[int]] = defaultdict(list)
    for image in images:
        by_acquisition[image.acquisition].append(image.images_in_acquisition or 0)
    known = [(len(said), max(said)) for said in by_acquisition.values() if max(said) > 0]
    if not known:
        return []
    # One acquisition with more images than it says must not hide what another one lacks.
    found, total = (sum(part) for part in zip(*((min(n, said), said) for n, said in known), strict=True))
    return [ExpectedCount("Images in Acquisition", found, total)]
