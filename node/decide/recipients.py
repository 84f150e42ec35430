"""Which peers get which result, by the kinds they asked for in the settings."""

from collections.abc import Collection, Mapping, Sequence

from node.records.results import Result

SEGMENTATIONS = frozenset({"seg", "labelmap"})
KINDS = SEGMENTATIONS | {"sr", "sc"}

Wishes = Mapping[str, Collection[str]]
"""Peer -> kinds of results it wants, of KINDS; a peer that is not in it wants all."""


def takers(result: Result, made: Sequence[Result], peers: Sequence[str], wishes: Wishes) -> tuple[str, ...]:
    """Return those of the job's peers that get this one of the results made; what is no DICOM object stays here.

    Where a job made only one kind of segmentation, who wants the other gets that one: it is better than none.
    """
    if not result.sop_uid:
        return ()
    kinds = {one.kind for one in made}
    return tuple(peer for peer in peers if peer not in wishes or _wants(wishes[peer], result.kind, kinds))


def _wants(wished: Collection[str], kind: str, made: Collection[str]) -> bool:
    if kind not in KINDS:
        return True
    if kind in SEGMENTATIONS and not SEGMENTATIONS.issubset(made):
        return not SEGMENTATIONS.isdisjoint(wished)
    return kind in wished
