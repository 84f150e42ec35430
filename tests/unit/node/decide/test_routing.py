from dataclasses import replace
from datetime import UTC, datetime

import pytest

from node.decide.candidate import Candidate
from node.decide.routing import explain, route
from node.errors import SettingsError
from node.records.instances import Header
from node.records.jobs import Job
from node.records.states import JobState, Reason
from node.settings.routing import Peer, Route
from node.settings.settings import load_settings

MOMENT = datetime(2026, 3, 1, tzinfo=UTC)
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
FULL = Candidate(
    series_uid="1.2", called_ae="QCTNODE", calling_ae="SCANNER1", modality="CT", body_part="PELVIS",
    study_description="Pelvis^QCT", series_description="Left HIP 0.6", kernel="B30f",
    image_type=("ORIGINAL", "PRIMARY", "AXIAL"), thickness_mm=1.25, step_mm=1.0, axial=True, slices=200,
    length_mm=199.0,
)  # fmt: skip


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
    decision = route(Candidate(body_part=body_part), settings())
    assert (decision.state, decision.destinations) == (JobState.QUEUED, ("pacs", "archive"))


@pytest.mark.parametrize("body_part", ["CHEST", "head", "C-SPINE", "Head Neck", "KNEE"])
def test_without_routes_what_shows_no_hip_is_declined(settings, body_part):
    decision = route(Candidate(body_part=body_part), settings())
    assert (decision.state, decision.code) == (JobState.DECLINED, Reason.NOT_A_HIP)


def test_a_description_that_says_hip_outweighs_a_wrong_body_part(settings):
    told = Candidate(body_part="CHEST", series_description="QCT Hip 1.0 B40")
    assert route(told, settings()).state is JobState.QUEUED


def test_the_first_matching_route_decides(settings):
    rules = settings(
        {
            "calling_ae": ("SCAN*",),
            "series_description": ("*femur*", "*hip*"),
            "destinations": ("pacs",),
            "priority": 7,
            "model": "/models/thin",
        },
        {"calling_ae": ("SCAN*",), "action": "decline"},
        {"destinations": ("archive",)},
    )
    hip = route(FULL, rules)
    assert (hip.priority, hip.destinations, hip.route, hip.model) == (7, ("pacs",), "r0", "/models/thin")
    declined = route(replace(FULL, series_description="liver"), rules)
    assert (declined.state, declined.code, declined.route) == (JobState.DECLINED, Reason.ROUTE_DECLINES, "r1")
    assert declined.reason == "the route r1 declines it"
    other = route(replace(FULL, calling_ae="PACS"), rules)
    assert (other.destinations, other.route, other.model) == (("archive",), "r2", "")


def test_with_routes_of_which_none_matches_it_is_declined(settings):
    decision = route(FULL, settings({"calling_ae": ("PACS",)}))
    assert (decision.state, decision.code) == (JobState.DECLINED, Reason.NO_ROUTE)
    assert "r0" in decision.reason


def test_a_holding_route_remembers_where_it_would_go_and_with_which_model(settings):
    held = route(FULL, settings({"action": "hold", "destinations": ("archive",), "priority": 2, "model": "m"}))
    assert (held.state, held.code) == (JobState.HELD, Reason.ROUTE_HOLDS)
    assert (held.destinations, held.priority, held.route, held.model) == (("archive",), 2, "r0", "m")


def test_only_a_route_that_names_the_region_overrules_the_body_part(settings):
    chest = Candidate(body_part="CHEST")
    away = route(chest, settings({}))
    assert (away.code, away.route) == (Reason.NOT_A_HIP, "r0")
    assert route(chest, settings({"body_part": ("chest",)})).state is JobState.QUEUED


def test_an_empty_list_of_destinations_means_none(settings):
    assert route(FULL, settings({"destinations": ()})).destinations == ()
    assert route(FULL, settings({})).destinations == ("pacs", "archive")


@pytest.mark.parametrize(
    ("rule", "matches"),
    [
        ({}, True),
        ({"called_ae": ("qctnode",)}, True),
        ({"called_ae": ("QCT?", "QCTN*")}, True),
        ({"called_ae": ("QCT?",)}, False),
        ({"calling_ae": ("SCANNER[12]",)}, True),
        ({"modality": ("ct",)}, True),
        ({"modality": ("MR",)}, False),
        ({"body_part": ("PEL*",)}, True),
        ({"study_description": ("*qct*",)}, True),
        ({"study_description": ("qct*",)}, False),
        ({"series_description": ("*hip*",)}, True),
        ({"kernel": ("b3*",)}, True),
        ({"kernel": ("B7*", "BONE")}, False),
        ({"image_type": (r"*\axial*",)}, True),
        ({"image_type": (r"ORIGINAL\PRIMARY\*",)}, True),
        ({"image_type": ("AXIAL",)}, False),
        ({"min_slice_thickness_mm": 1.25}, True),
        ({"min_slice_thickness_mm": 1.3}, False),
        ({"max_slice_thickness_mm": 1.25}, True),
        ({"max_slice_thickness_mm": 1.2}, False),
        ({"min_slice_thickness_mm": 1.0, "max_slice_thickness_mm": 2.0}, True),
        ({"contrast": False}, True),
        ({"contrast": True}, False),
        ({"modality": ("CT",), "kernel": ("B30f",), "contrast": True}, False),
    ],
)
def test_every_key_of_a_route_is_a_condition(settings, rule, matches):
    given = settings(rule)
    assert (route(FULL, given).code != Reason.NO_ROUTE) is matches
    [trial] = explain(FULL, given)
    assert (trial.matches, trial.decides) == (matches, matches)


@pytest.mark.parametrize("rule", [{"min_slice_thickness_mm": 0.1}, {"max_slice_thickness_mm": 9.0}])
def test_an_unknown_thickness_meets_no_limit(settings, rule):
    assert route(Candidate(), settings(rule)).code == Reason.NO_ROUTE


def test_a_thickness_that_the_scanner_rounded_meets_its_limit(settings):
    assert route(replace(FULL, thickness_mm=0.9999), settings({"min_slice_thickness_mm": 1.0})).route == "r0"


def test_thickness_limits_in_the_wrong_order_are_a_fault(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rule = {"name": "odd", "min_slice_thickness_mm": 3, "max_slice_thickness_mm": 1}
    with pytest.raises(SettingsError, match=r"routes\.0.*must not be above max_slice_thickness_mm"):
        load_settings(None, routes=[rule])


def test_every_condition_is_explained_and_the_deciding_route_is_named(settings):
    rules = settings(
        {"called_ae": ("TRIAL",), "max_slice_thickness_mm": 1},
        {"kernel": ("B3*", "STANDARD")},
        {},
    )
    trials = explain(FULL, rules)
    assert [(t.route, t.matches, t.decides) for t in trials] == [
        ("r0", False, False), ("r1", True, True), ("r2", True, False)
    ]  # fmt: skip
    called, thin = trials[0].conditions
    assert (called.key, called.wanted, called.found, called.holds) == ("called_ae", "TRIAL", "QCTNODE", False)
    assert (thin.key, thin.wanted, thin.found, thin.holds) == ("max_slice_thickness_mm", "1", "1.25", False)
    [kernel] = trials[1].conditions
    assert (kernel.wanted, kernel.found, kernel.holds) == ("B3* or STANDARD", "B30f", True)
    assert trials[2].conditions == ()


def image(place=(0.0, 0.0, 0.0), **other):
    values = {"modality": "CT", "orientation": AXIAL, "image_type": ("ORIGINAL", "PRIMARY", "AXIAL")}
    return Header("1", "1.2", "1.2.3", "1.2.840.10008.5.1.4.1.1.2", position=place, **(values | other))


def stack(count=30, step=2.0, **other):
    return [image((-170.0, -180.0, step * n), **other) for n in range(count)]


def test_a_candidate_reads_what_most_slices_say():
    odd = image((-170.0, -180.0, 60.0), kernel="B70f", thickness=5.0, contrast=True)
    found = Candidate.read([odd, *stack(kernel="B30f", thickness=3.0)])
    assert (found.kernel, found.thickness_mm, found.step_mm, found.contrast) == ("B30f", 3.0, 2.0, True)
    assert (found.slices, found.length_mm, found.axial) == (31, 60.0, True)


@pytest.mark.parametrize(
    ("headers", "thickness", "slices", "length", "axial"),
    [
        (stack(step=-0.625), 0.625, 30, 18.125, True),
        ([image((0.0, 2.5 * n, 0.0), orientation=CORONAL) for n in range(5)], 2.5, 5, 10.0, False),
        (stack(4) + stack(4), 2.0, 4, 6.0, True),
        ([*stack(4), image((0.0, 0.0, 500.0), image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"))], 2.0, 4, 6.0, True),
        ([image(None, frames=120, orientation=None)], None, 120, None, None),
        ([image(None, orientation=None)] * 3, None, 3, None, None),
        ([image()], None, 1, None, True),
        ([], None, 0, None, None),
    ],
    ids=["towards the feet", "coronal", "copies", "localiser", "enhanced", "nowhere", "one slice", "nothing"],
)
def test_a_candidate_measures_the_stack(headers, thickness, slices, length, axial):
    found = Candidate.read(headers)
    assert (found.thickness_mm, found.slices, found.length_mm, found.axial) == (thickness, slices, length, axial)


def test_a_candidate_of_a_job_takes_its_senders_and_descriptions():
    texts = {
        "modality": "CT", "description": "Hip", "study_description": "QCT", "body_part": "PELVIS",
        "calling_ae": "SCANNER", "called_ae": "TRIAL", "series_uid": "1.2",
    }  # fmt: skip
    job = Job(**(dict.fromkeys(Job.__dataclass_fields__) | texts | {"received_at": MOMENT}))
    found = Candidate.of(job, stack(series_description="another"))
    assert (found.series_description, found.study_description, found.body_part) == ("Hip", "QCT", "PELVIS")
    assert (found.called_ae, found.calling_ae, found.name) == ("TRIAL", "SCANNER", '"Hip"')
    assert (found.slices, Candidate(series_uid="1.2").name) == (30, "1.2")
