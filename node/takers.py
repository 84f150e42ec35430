"""Which peers get which result: everybody gets everything, and of the segmentation the kind he asked for."""

from collections.abc import Collection, Sequence

from node.ledger.records import Result

BINARY = "1.2.840.10008.5.1.4.1.1.66.4"  # Segmentation Storage
LABELMAP = "1.2.840.10008.5.1.4.1.1.66.7"  # Label Map Segmentation Storage


def takers(
    result: Result, made: Sequence[Result], peers: Sequence[str], labelmap_peers: Collection[str]
) -> tuple[str, ...]:
    """Return those of the job's peers that get this one of the results made; what is no DICOM object stays here.

    labelmap_peers: names of peers set to `segmentation = "labelmap"`. Where a job made only one kind, all get that one:
    a peer is better off with the other kind than with none.
    """
    if not result.sop_uid:
        return ()
    kinds = {one.sop_class_uid for one in made}
    if result.sop_class_uid not in (BINARY, LABELMAP) or not {BINARY, LABELMAP} <= kinds:
        return tuple(peers)
    return tuple(peer for peer in peers if (peer in labelmap_peers) == (result.sop_class_uid == LABELMAP))
