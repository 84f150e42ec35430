"""Who gets which result: the table of kinds of segmentation and peers."""

from pathlib import Path

import pytest

from node.ledger.records import Result
from node.settings import load_settings
from node.takers import BINARY, LABELMAP, takers

PEERS = ("pacs", "viewer", "archive")


def result(kind, sop_class="", sop_uid="1.2.3"):
    return Result(kind, Path(kind), "0", 1, sop_class, sop_uid if sop_class else "")


SEG, MAP = result("seg", BINARY), result("labelmap", LABELMAP)
SR, REPORT = result("sr", "1.2.840.10008.5.1.4.1.1.88.34"), result("report")


@pytest.mark.parametrize(
    ("one", "made", "labelmap_peers", "expected"),
    [
        (SEG, (SEG, SR), (), PEERS),
        (SEG, (SEG, MAP, SR), ("viewer",), ("pacs", "archive")),
        (MAP, (SEG, MAP, SR), ("viewer",), ("viewer",)),
        (SEG, (SEG, MAP), PEERS, ()),
        (MAP, (SEG, MAP), PEERS, PEERS),
        (MAP, (SEG, MAP), ("somebody-else",), ()),
        (SEG, (SEG, SR), ("viewer",), PEERS),  # rather the other kind than none
        (MAP, (MAP, SR), ("viewer",), PEERS),
        (SR, (SEG, MAP, SR), ("viewer",), PEERS),
        (SR, (SR,), ("viewer",), PEERS),
        (REPORT, (SEG, MAP, REPORT), ("viewer",), ()),
    ],
)
def test_who_gets_what(one, made, labelmap_peers, expected):
    assert takers(one, made, PEERS, labelmap_peers) == expected


def test_without_peers_nothing_goes_anywhere():
    assert takers(SEG, (SEG, MAP), (), ("viewer",)) == ()


def test_peers_choose_in_the_settings():
    def peer(name, **more):
        return {"name": name, "ae_title": "A", "host": "h", "port": 104} | more

    settings = load_settings(peers=[peer("pacs"), peer("b", segmentation="binary"), peer("c", segmentation="labelmap")])
    assert [one.segmentation for one in settings.peers] == ["binary", "binary", "labelmap"]
    assert settings.labelmap_peers == {"c"}
