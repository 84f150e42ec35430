import random
from dataclasses import replace

import pytest
from header_factory import CORONAL, image, localiser, stack
from hypothesis import given, settings
from hypothesis import strategies as st

from node.decide.completeness import GRACE_SECONDS, Phase, judge, too_early
from node.records.jobs import Evidence
from node.records.states import JobState, Reason
from node.settings.sections import Intake

HEAD_DOWN = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
OBLIQUE = (0.8, 0.0, 0.6, 0.0, 1.0, 0.0)
RULES = Intake(quiet_seconds=10, give_up_seconds=600)

GONE = Evidence(quiet=1.5, waited=20, ended=1.2)  # the sender has said goodbye a moment ago
QUIET = Evidence(quiet=11, waited=20, ended=10.5)
LATE = replace(QUIET, quiet=500, waited=601, ended=500)


def without(slices, *places):
    """Return the slices without those at these places, counted from 1."""
    return [one for n, one in enumerate(slices, 1) if n not in places]


def enhanced(**other):
    return image(None, frames=120, orientation=None, sop_class_uid="1.2.840.10008.5.1.4.1.1.2.1", **other)


def verdict(headers, evidence=QUIET, rules=RULES):
    decision = judge(headers, evidence, rules)
    return decision.state, decision.code, decision.reason


# --- when


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        ({}, None),
        ({"ended": GRACE_SECONDS}, None),
        ({"ended": GRACE_SECONDS - 0.1}, "its sender may open another association"),
        ({"open": 1}, "the association is still open"),
        ({"open": 1, "ended": None}, "the association is still open"),
        ({"sender_open": 1}, "its sender has another association open"),
        ({"broken": True}, "an association broke off, so no slice must come for 10 s"),
        ({"ended": None}, "no slice must come for 10 s"),
    ],
)
def test_a_whole_series_starts_when_its_sender_is_gone_and_else_when_it_is_quiet(known, reason):
    expected = (JobState.COMPLETE, "", "") if reason is None else (JobState.RECEIVED, "", f"waiting: {reason}")
    assert verdict(stack(), replace(GONE, **known)) == expected
    assert verdict(stack(), replace(QUIET, **known)) == (JobState.COMPLETE, "", "")


@pytest.mark.parametrize("known", [{"open": 1}, {"broken": True}])
def test_a_short_part_is_not_segmented_while_its_sender_may_come_back(known):
    state, _, reason = verdict(stack(60), replace(QUIET, **known))
    assert (state, reason) == (
        JobState.RECEIVED,
        "waiting: 59.0 mm are short for a hip, and its sender has not said that this is all",
    )
    assert verdict(stack(60), replace(LATE, **known))[0] is JobState.COMPLETE
    assert verdict(stack(81), replace(QUIET, **known))[0] is JobState.COMPLETE


@pytest.mark.parametrize(("slices", "fast"), [(stack(81), True), (stack(79), False), (stack(20, 5.0), True)])
def test_what_is_too_short_to_show_a_hip_must_be_quiet(slices, fast):
    state, _, reason = verdict(slices, GONE)
    assert state is (JobState.COMPLETE if fast else JobState.RECEIVED)
    assert fast or reason == "waiting: 78.0 mm are short for a hip, so no slice must come for 10 s"
    assert verdict(slices, QUIET)[0] is JobState.COMPLETE


def test_a_series_that_never_gets_quiet_is_held_at_last():
    busy = Evidence(quiet=0.2, waited=599, open=1)
    assert verdict(stack(), busy)[0] is JobState.RECEIVED
    expected = (
        "slices still arrived 600 s after the first; it goes on when none has come for 10 s, "
        "and `release` segments what is here"
    )
    assert verdict(stack(), replace(busy, waited=600)) == (JobState.HELD, Reason.STILL_ARRIVING, expected)
    assert verdict(stack(), replace(busy, waited=700, quiet=10.5))[0] is JobState.COMPLETE


@pytest.mark.parametrize("evidence", [GONE, QUIET, LATE, Evidence(0, 0, open=1), replace(GONE, broken=True)])
def test_a_person_overrides_everything_but_what_is_no_ct(evidence):
    forced = replace(evidence, forced=True)
    for slices in (stack(), without(stack(), 5), stack(3), stack(images_in_acquisition=900), [localiser()]):
        assert judge(slices, forced, RULES).state is JobState.COMPLETE
    assert verdict(stack(modality="MR"), forced)[:2] == (JobState.DECLINED, Reason.NOT_CT)


# --- gaps


@pytest.mark.parametrize("step", [1.0, -1.0, 0.625, 3.0])
def test_an_even_stack_in_any_order_is_complete(step):
    slices = stack(140, step)
    random.Random(1).shuffle(slices)
    assert verdict(slices, GONE) == (JobState.COMPLETE, "", "")


def test_positions_rounded_by_the_scanner_are_no_gaps():
    slices = [image((0.0, 0.0, round(0.625 * n, 1))) for n in range(140)]
    assert judge(slices, GONE, RULES).state is JobState.COMPLETE


def test_other_planes_are_stacked_along_their_own_normal():
    coronal = [image((0.0, 2.0 * n, 0.0), orientation=CORONAL) for n in range(60)]
    oblique = [image((-0.6 * n, 0.0, 0.8 * n), orientation=OBLIQUE) for n in range(90)]
    assert judge(coronal, GONE, RULES).state is JobState.COMPLETE
    assert judge(oblique, GONE, RULES).state is JobState.COMPLETE


@pytest.mark.parametrize(
    ("slices", "gap"),
    [
        (without(stack(60, 4.0, -280.0), 41), "slice 41 is missing between z=-124.0 and z=-116.0 mm"),
        (without(stack(60, -4.0, -44.0), 20), "slice 41 is missing between z=-124.0 and z=-116.0 mm"),
        (
            without(stack(60, -4.0, 40.0, orientation=HEAD_DOWN), 41),
            "slice 41 is missing between z=-116.0 and z=-124.0 mm",
        ),
        (without(stack(), 11, 12, 13, 14), "slices 11 to 14 are missing between z=-91.0 and z=-86.0 mm"),
        (
            without(stack(), 5, 9, 10),
            "slice 5 is missing between z=-97.0 and z=-95.0 mm; "
            "slices 9 to 10 are missing between z=-93.0 and z=-90.0 mm",
        ),
        (
            [image((0.0, 2.0 * n, 0.0), orientation=CORONAL) for n in range(60) if n != 5],
            "slice 6 is missing between y=8.0 and y=12.0 mm",
        ),
    ],
)
def test_a_missing_slice_is_named_by_its_place_and_waited_for_and_at_last_held(slices, gap):
    for evidence in (GONE, QUIET):
        assert verdict(slices, evidence) == (JobState.RECEIVED, "", f"waiting: {gap}")
    assert verdict(slices, LATE) == (JobState.HELD, Reason.GAP, f"{gap}; send what is missing")


def test_of_many_gaps_the_first_are_named_and_the_others_counted():
    reason = judge(without(stack(), 5, 9, 10, 20, 40, 41, 60), QUIET, RULES).reason
    assert reason.endswith("slice 20 is missing between z=-82.0 and z=-80.0 mm; 3 more are missing elsewhere")


def test_copies_at_one_place_are_left_to_the_segmenter():
    assert judge(stack() + stack(), GONE, RULES).state is JobState.COMPLETE


def tracking(at=200.0, images=12, **other):
    """Many images of one place: bolus tracking beside the scan, which is acquisition 2."""
    return [image((0.0, 0.0, at), **({"acquisition": 1} | other)) for _ in range(images)]


def test_bolus_tracking_away_from_the_scan_leaves_no_gap_once_no_more_slices_come():
    slices = stack(acquisition=2) + tracking()
    assert verdict(slices, GONE)[0] is JobState.RECEIVED
    assert verdict(slices, QUIET)[0] is JobState.COMPLETE
    assert verdict(slices, LATE)[0] is JobState.COMPLETE
    state, code, reason = verdict(without(stack(acquisition=2), 41) + tracking(), LATE)
    assert (state, code) == (JobState.HELD, Reason.GAP)
    assert reason.startswith("slice 41 is missing between")


@pytest.mark.parametrize(
    "rest",
    [
        tracking(acquisition=2),  # of the scan's own acquisition: its slices in between were lost
        tracking(images=1, acquisition=2) + tracking(201.0, images=1),  # the end of a second part
    ],
)
def test_slices_far_away_that_are_no_bolus_tracking_still_mean_a_gap(rest):
    assert verdict(stack(acquisition=2) + rest, LATE)[:2] == (JobState.HELD, Reason.GAP)


def test_a_scan_that_numbers_every_slice_as_an_acquisition_is_one_stack():
    slices = [image((0.0, 0.0, 2.0 * n), acquisition=n) for n in range(60)]
    assert verdict(slices, GONE)[0] is JobState.COMPLETE
    assert verdict(without(slices, 30), LATE)[:2] == (JobState.HELD, Reason.GAP)


# --- announced numbers


@pytest.mark.parametrize(
    ("slices", "reason"),
    [
        (stack(120, series_instances=120), ""),
        (stack(120, series_instances=100), ""),  # more than announced is no fault
        (stack(120, series_instances=300), "120 of 300 images (Number of Series Related Instances)"),
        ([*stack(120, series_instances=121), localiser()], ""),  # of all objects of the series
        (stack(120, images_in_acquisition=300), "120 of 300 images (Images in Acquisition)"),
        ([*stack(120, images_in_acquisition=121), localiser()], "120 of 121 images (Images in Acquisition)"),
        ([*stack(120), localiser(images_in_acquisition=2)], ""),  # says nothing about the scan
        (stack(120, images_in_acquisition=300, image_type=("DERIVED", "SECONDARY", "AXIAL")), ""),
        (stack(120, images_in_acquisition=0, series_instances=-1), ""),
        (
            stack(60, acquisition=1, images_in_acquisition=60)
            + stack(60, start=-40.0, acquisition=2, images_in_acquisition=60),
            "",
        ),
        (
            stack(80, acquisition=1, images_in_acquisition=60)  # a surplus here does not hide what lacks there
            + stack(40, start=-20.0, acquisition=2, images_in_acquisition=60),
            "100 of 120 images (Images in Acquisition)",
        ),
    ],
)
def test_announced_images_are_waited_for_and_at_last_missed(slices, reason):
    for evidence in (GONE, QUIET):
        assert verdict(slices, evidence)[::2] == (
            (JobState.RECEIVED, f"waiting: {reason}") if reason else (JobState.COMPLETE, "")
        )
    if reason:
        count, source = reason.removesuffix(")").split(" images (")
        told = f"{count} images arrived ({source} says {count.split()[-1]}); `release` segments what is here"
        assert verdict(slices, LATE) == (JobState.HELD, Reason.INCOMPLETE, told)
    else:
        assert judge(slices, LATE, RULES).state is JobState.COMPLETE


@pytest.mark.parametrize("expect", [(), ("series-count",), ("images-in-acquisition",)])
def test_only_what_the_settings_name_is_believed(expect):
    rules = RULES.model_copy(update={"expect": expect})
    for name, tag in (("series-count", "series_instances"), ("images-in-acquisition", "images_in_acquisition")):
        state = verdict(stack(120, **{tag: 300}), GONE, rules)[0]
        assert state is (JobState.RECEIVED if name in expect else JobState.COMPLETE)


def test_a_peer_that_has_more_delays_and_one_that_has_less_does_not():
    more = {"expected": 300, "expected_from": "pacs"}
    assert verdict(stack(), replace(GONE, **more))[2] == "waiting: 120 of 300 images (pacs)"
    sentence = "120 of 300 images arrived (pacs says 300); `release` segments what is here"
    assert verdict(stack(), replace(LATE, **more)) == (JobState.HELD, Reason.INCOMPLETE, sentence)
    for fewer in (0, 60, 120):
        assert judge(stack(), replace(GONE, expected=fewer, expected_from="pacs"), RULES).state is JobState.COMPLETE


def test_a_gap_and_a_number_that_is_not_reached_are_told_together():
    slices = without(stack(series_instances=120), 41)
    assert verdict(slices)[2] == (
        "waiting: slice 41 is missing between z=-61.0 and z=-59.0 mm; "
        "119 of 120 images (Number of Series Related Instances)"
    )
    assert verdict(slices, LATE)[:2] == (JobState.HELD, Reason.GAP)


@pytest.mark.parametrize(
    ("slices", "evidence", "state"),
    [
        (stack(series_instances=120), {}, JobState.COMPLETE),
        (stack(series_instances=119), {}, JobState.RECEIVED),  # more than announced proves nothing
        (stack(images_in_acquisition=120), {}, JobState.RECEIVED),  # another acquisition may follow
        (stack(), {"expected": 120}, JobState.RECEIVED),  # the peer may still be receiving, too
        (stack(series_instances=120), {"open": 1}, JobState.RECEIVED),
        (stack(series_instances=120), {"broken": True}, JobState.RECEIVED),
    ],
)
def test_an_announced_number_that_is_reached_needs_no_grace(slices, evidence, state):
    assert judge(slices, replace(GONE, ended=0.0, **evidence), RULES).state is state


# --- what waiting cannot mend


@pytest.mark.parametrize("slices", [stack(1), stack(10, 1.0), stack(1) * 5])
def test_a_handful_of_slices_is_declined_when_nobody_is_left_to_send_more(slices):
    state, code, reason = verdict(slices)
    assert (state, code) == (JobState.DECLINED, Reason.TOO_SHORT)
    assert "20 mm are needed" in reason
    assert verdict(slices, GONE) == (JobState.RECEIVED, "", "waiting: no slice must come for 10 s")
    standing = replace(QUIET, open=1)
    assert verdict(slices, standing) == (JobState.RECEIVED, "", "waiting: the association is still open")
    assert verdict(slices, replace(LATE, open=1))[:2] == (JobState.DECLINED, Reason.TOO_SHORT)


def test_the_first_slices_of_an_announced_scan_are_not_too_short():
    assert verdict(stack(5, images_in_acquisition=300))[0] is JobState.RECEIVED
    assert verdict(stack(5, images_in_acquisition=300), LATE)[:2] == (JobState.HELD, Reason.INCOMPLETE)


@pytest.mark.parametrize(
    ("odd", "code"),
    [
        ({"orientation": OBLIQUE}, Reason.MIXED_ORIENTATION),
        ({"rows": 256}, Reason.MIXED_GRID),
        ({"spacing": (0.7, 0.8)}, Reason.MIXED_GRID),
        ({"frame_of_reference": "1.6"}, Reason.MIXED_FRAME_OF_REFERENCE),
        ({"position": None}, Reason.MISSING_GEOMETRY),
        ({"orientation": None}, Reason.MISSING_GEOMETRY),
        ({"spacing": None}, Reason.MISSING_GEOMETRY),
    ],
)
def test_one_odd_slice_holds_the_series_once_its_sender_is_gone(odd, code):
    slices = stack()
    slices[3] = replace(slices[3], **odd)
    assert verdict(slices)[:2] == (JobState.HELD, code)
    assert verdict(slices, replace(GONE, ended=0.5)) == (JobState.RECEIVED, "", "waiting: no slice must come for 10 s")
    assert verdict(slices, GONE)[:2] == (JobState.HELD, code)
    assert verdict(slices, Evidence(quiet=0.1, waited=600, open=1))[:2] == (JobState.HELD, code)


def test_noise_in_the_cosines_is_no_other_orientation():
    slices = stack()
    slices[3] = replace(slices[3], orientation=(0.9999999, 0.0, 0.0001, 0.0, 1.0, 0.0))
    assert judge(slices, GONE, RULES).state is JobState.COMPLETE


def test_localisers_alone_are_declined_and_among_slices_left_out():
    assert verdict([localiser(), localiser()])[:2] == (JobState.DECLINED, Reason.LOCALISER)
    assert verdict([localiser()], GONE)[:2] == (JobState.DECLINED, Reason.LOCALISER)
    assert verdict([localiser()], replace(GONE, ended=0.5))[0] is JobState.RECEIVED
    assert judge([*stack(), localiser()], GONE, RULES).state is JobState.COMPLETE


def test_an_enhanced_object_is_whole_by_itself_but_another_may_follow():
    assert judge([enhanced()], GONE, RULES).state is JobState.COMPLETE
    assert judge([enhanced()], replace(GONE, ended=0.2), RULES).state is JobState.RECEIVED
    assert judge([enhanced()], replace(GONE, open=1), RULES).state is JobState.RECEIVED
    assert judge([enhanced(images_in_acquisition=120)], GONE, RULES).state is JobState.COMPLETE
    assert verdict([enhanced(series_instances=2)])[2] == "waiting: 1 of 2 images (Number of Series Related Instances)"


@pytest.mark.parametrize(
    ("other", "word"),
    [
        ({"modality": "MR"}, "MR"),
        ({"modality": ""}, "none"),
        ({"sop_class_uid": "1.2.840.10008.5.1.4.1.1.7"}, "1.2.840.10008.5.1.4.1.1.7"),
    ],
)
def test_what_is_not_ct_is_declined_by_name(other, word):
    foreign = replace(image(), **other)
    state, code, reason = verdict([foreign])
    assert (state, code) == (JobState.DECLINED, Reason.NOT_CT)
    assert word in reason
    assert verdict([foreign], replace(GONE, ended=0.5))[0] is JobState.RECEIVED


# --- properties

seconds = st.floats(0, 1000, allow_subnormal=False)  # torch, loaded by another test, may flush them to zero
evidences = st.builds(
    Evidence,
    quiet=seconds,
    waited=seconds,
    open=st.integers(0, 2),
    sender_open=st.integers(0, 2),
    ended=st.none() | seconds,
    broken=st.booleans(),
    expected=st.none() | st.integers(0, 40),
    forced=st.booleans(),
)
some_series = st.builds(
    lambda count, step, gone, tags: without(stack(count, step, **tags), *gone),
    st.integers(3, 40),
    st.sampled_from([-4.0, 0.7, 3.0, 10.0]),
    st.sets(st.integers(2, 39), max_size=3),
    st.sampled_from([{}, {"series_instances": 30}, {"images_in_acquisition": 20}, {"modality": "MR"}]),
)


@given(some_series, evidences, st.randoms(use_true_random=False))
def test_the_order_of_arrival_changes_nothing(slices, evidence, shuffler):
    shuffled = list(slices)
    shuffler.shuffle(shuffled)
    assert judge(shuffled, evidence, RULES) == judge(slices, evidence, RULES)


@settings(max_examples=200)
@given(st.integers(6, 60), st.data(), evidences)
def test_a_series_with_an_inner_slice_missing_is_never_complete_unless_a_person_says_so(count, data, evidence):
    slices = without(stack(count, 4.0), data.draw(st.integers(2, count - 1)))
    state = judge(slices, replace(evidence, forced=False), RULES).state
    assert state is not JobState.COMPLETE
    if evidence.waited < RULES.give_up_seconds and evidence.quiet < RULES.quiet_seconds:
        assert state is JobState.RECEIVED


@given(some_series, evidences, evidences)
def test_a_decision_depends_on_nothing_but_slices_and_phase(slices, one, other):
    if Phase.of(one, RULES) == Phase.of(other, RULES):
        assert judge(slices, one, RULES) == judge(slices, other, RULES)
    early = too_early(Phase.of(one, RULES), RULES)
    assert early is None or judge(slices, one, RULES) == early


@given(some_series, evidences)
def test_after_the_time_to_give_up_nothing_waits(slices, evidence):
    assert judge(slices, replace(evidence, waited=600.0), RULES).state is not JobState.RECEIVED


@given(some_series, evidences, seconds)
def test_a_whole_series_does_not_get_worse_by_waiting(slices, evidence, more):
    later = replace(evidence, quiet=evidence.quiet + more, waited=evidence.waited + more)
    if judge(slices, evidence, RULES).state is JobState.COMPLETE:
        assert judge(slices, later, RULES).state is JobState.COMPLETE
