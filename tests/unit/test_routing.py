from datetime import UTC, datetime

import pytest

from node.ledger.records import Job
from node.routing import route
from node.settings import Peer, Route, load_settings
from node.states import JobState, Reason

MOMENT = datetime(2026, 3, 1, tzinfo=UTC)


def job(**values):
    empty = dict.fromkeys(Job.__dataclass_fields__)
    texts = dict.fromkeys(("modality", "description", "study_description", "body_part", "calling_ae"), "")
    return Job(**(empty | texts | {"state": JobState.COMPLETE, "received_at": MOMENT} | values))


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    peers = [Peer(name=n, ae_title=n.upper(), host="127.0.0.1", port=104).model_dump() for n in ("pacs", "archive")]

    def make(*routes):
        return load_settings(None, peers=peers, routes=[Route(name=f"r{n}", **r) for n, r in enumerate(routes)])

    return make


@pytest.mark.parametrize(
    "body_part", ["", "HIP", "PELVIS", "EXTREMITY", "ABDOMEN", "LEG", "CHEST_ABDOMEN_PELVIS", "WHOLEBODY"]
)
def test_without_routes_what_may_show_a_hip_goes_to_every_peer(settings, body_part):
    decision = route(job(body_part=body_part), settings())
    assert (decision.state, decision.destinations) == (JobState.QUEUED, ("pacs", "archive"))


@pytest.mark.parametrize("body_part", ["CHEST", "head", "C-SPINE", "Head Neck", "KNEE"])
def test_without_routes_what_shows_no_hip_is_declined(settings, body_part):
    decision = route(job(body_part=body_part), settings())
    assert (decision.state, decision.code) == (JobState.DECLINED, Reason.NOT_A_HIP)


def test_a_description_that_says_hip_outweighs_a_wrong_body_part(settings):
    assert route(job(body_part="CHEST", description="QCT Hip 1.0 B40"), settings()).state is JobState.QUEUED


def test_the_first_matching_route_decides(settings):
    rules = settings(
        {
            "calling_ae": ("SCAN*",),
            "series_description": ("*femur*", "*hip*"),
            "destinations": ("pacs",),
            "priority": 7,
        },
        {"calling_ae": ("SCAN*",), "action": "decline"},
        {"destinations": ("archive",)},
    )
    assert route(job(calling_ae="SCANNER1", description="Left HIP 0.6"), rules).priority == 7
    assert route(job(calling_ae="SCANNER1", description="Left HIP 0.6"), rules).destinations == ("pacs",)
    declined = route(job(calling_ae="SCANNER1", description="liver"), rules)
    assert (declined.state, declined.code, declined.reason) == (
        JobState.DECLINED,
        Reason.ROUTE_DECLINES,
        "the route r1 declines it",
    )
    assert route(job(calling_ae="PACS", description="liver"), rules).destinations == ("archive",)


def test_with_routes_of_which_none_matches_it_is_declined(settings):
    decision = route(job(calling_ae="PACS"), settings({"calling_ae": ("SCANNER",)}))
    assert (decision.state, decision.code) == (JobState.DECLINED, Reason.NO_ROUTE)
    assert "r0" in decision.reason


def test_a_holding_route_remembers_where_it_would_go(settings):
    decision = route(job(), settings({"action": "hold", "destinations": ("archive",), "priority": 2}))
    assert (decision.state, decision.destinations, decision.priority) == (JobState.HELD, ("archive",), 2)


def test_only_a_route_that_names_the_region_overrules_the_body_part(settings):
    chest = job(body_part="CHEST")
    assert route(chest, settings({})).code == Reason.NOT_A_HIP
    assert route(chest, settings({"body_part": ("chest",)})).state is JobState.QUEUED


def test_an_empty_list_of_destinations_means_none(settings):
    assert route(job(), settings({"destinations": ()})).destinations == ()
    assert route(job(), settings({})).destinations == ("pacs", "archive")
