"""Which peers get which result, by the kinds they asked for in the settings."""

from collections.abc import Collection, Mapping, Sequence

from node.records.results import Result

SEGMENTATIONS = frozenset({"seg", "labelmap"})
KINDS = SEGMENTATIONS | {"sr", "sc"}

WantedKinds = Mapping[str, Collection[str]]
"""Peer -> the kinds of results it wants, among KINDS; a peer that is not in it wants all."""


def recipients(result: Result, made: Sequence[Result], peers: Sequence[str], wanted: WantedKinds) -> tuple[str, ...]:
    """Return those of the job's peers that get one of the results made; a file that is not a DICOM object stays here.

    Where a job made only one kind of segmentation, a peer that wants the other kind gets this one.
    """
    if not result.sop_uid:
        return ()
    kinds = {one.kind for one in made}
    return tuple(peer for peer in peers if peer not in wanted or _wants(wanted[peer], result.kind, kinds))


def _wants(wanted: Collection[str], kind: str, made: Collection[str]) -> bool:
    if kind not in KINDS:
        return True
    if kind in SEGMENTATIONS and not SEGMENTATIONS.issubset(made):
        return not SEGMENTATIONS.isdisjoint(wanted)
    return kind in wanted
