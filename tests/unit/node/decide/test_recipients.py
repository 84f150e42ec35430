"""Who gets which result: the table of kinds of segmentation and peers."""

import pytest

from node.decide.recipients import recipients
from node.errors import SettingsError
from node.records.results import Result
from node.settings.settings import load_settings

PEERS = ("pacs", "viewer", "archive")
ALL = {"seg", "sr", "sc"}
MAP_FOR_VIEWER = {"pacs": ALL, "viewer": {"labelmap", "sr", "sc"}}


def result(kind, sop_uid="1.2.3"):
    return Result(kind, kind, "0", 1, "1.2.840" if sop_uid else "", sop_uid)


SEG, MAP, SR, SC = (result(kind) for kind in ("seg", "labelmap", "sr", "sc"))
REPORT, OTHER = result("report", ""), result("mesh")


@pytest.mark.parametrize(
    ("one", "made", "wanted", "expected"),
    [
        (SEG, (SEG, SR), {}, PEERS),
        (SEG, (SEG, MAP, SR), MAP_FOR_VIEWER | {"archive": ALL}, ("pacs", "archive")),
        (MAP, (SEG, MAP, SR), MAP_FOR_VIEWER | {"archive": ALL}, ("viewer",)),
        (SEG, (SEG, MAP), {key: {"labelmap"} for key in PEERS}, ()),
        (MAP, (SEG, MAP), {key: {"labelmap"} for key in PEERS}, PEERS),
        (SEG, (SEG, SR), MAP_FOR_VIEWER, PEERS),  # rather the other kind than none
        (MAP, (MAP, SR), dict.fromkeys(PEERS, ALL), PEERS),
        (SR, (SEG, MAP, SR), MAP_FOR_VIEWER, PEERS),
        (SR, (SEG, SR), {"pacs": {"seg"}, "viewer": {"sr"}}, ("viewer", "archive")),
        (SEG, (SEG, SR), {"pacs": {"sr", "sc"}}, ("viewer", "archive")),
        (SC, (SC, SR), {key: {"seg"} for key in PEERS}, ()),
        (OTHER, (OTHER,), {key: {"seg"} for key in PEERS}, PEERS),  # no kind that could be asked for
        (REPORT, (SEG, MAP, REPORT), MAP_FOR_VIEWER, ()),
    ],
)
def test_who_gets_what(one, made, wanted, expected):
    assert recipients(one, made, PEERS, wanted) == expected


def test_without_peers_nothing_goes_anywhere():
    assert recipients(SEG, (SEG, MAP), (), MAP_FOR_VIEWER) == ()


def test_peers_choose_in_the_settings():
    def peer(name, **more):
        return {"name": name, "ae_title": "A", "host": "h", "port": 104} | more

    settings = load_settings(
        peers=[peer("pacs"), peer("b", results=["seg"]), peer("c", segmentation="labelmap"), peer("d", results=[])]
    )
    assert settings.wanted_kinds == {"pacs": ALL, "b": {"seg"}, "c": {"labelmap", "sr", "sc"}, "d": set()}
    with pytest.raises(SettingsError, match=r"peers.0.results.0 = 'pdf'"):
        load_settings(peers=[peer("pacs", results=["pdf"])])
