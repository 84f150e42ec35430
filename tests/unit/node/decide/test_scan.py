"""The scan among the objects of a series, whatever else lies there and in whatever order."""

import random
from dataclasses import replace

import pytest
from header_factory import CORONAL, image, localiser, stack

from node.decide.candidate import Candidate
from node.decide.completeness import judge
from node.decide.scan import scan_of
from node.records.jobs import Evidence
from node.records.states import JobState, Reason
from node.settings.sections import Intake

RULES = Intake(quiet_seconds=10, give_up_seconds=600)
GONE = Evidence(quiet=1.5, waited=20, ended=1.2)
QUIET = Evidence(quiet=11, waited=20, ended=10.5)
LATE = replace(QUIET, quiet=500, waited=601, ended=500)
NO_PLACE = {"orientation": None, "spacing": None}
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
ODD = {
    "dose report": image(None, modality="SR", sop_class_uid="1.2.840.10008.5.1.4.1.1.88.67", **NO_PLACE),
    "key objects": image(None, modality="KO", sop_class_uid="1.2.840.10008.5.1.4.1.1.88.59", **NO_PLACE),
    "presentation state": image(None, modality="PR", sop_class_uid="1.2.840.10008.5.1.4.1.1.11.1", **NO_PLACE),
    "dose page": image(None, sop_class_uid=CAPTURE, rows=600, **NO_PLACE),
    "dose page as CT": image(None, rows=600, frame_of_reference="", **NO_PLACE),
    "scout": localiser(rows=800),
    "unmarked scout": image((0.0, 0.0, 300.0), orientation=CORONAL, body_part="HEAD", kernel="SHARP"),
    "scout by another word": image(None, image_type=("ORIGINAL", "PRIMARY", "SCOUT"), **NO_PLACE),
    "another matrix": image((0.0, 0.0, -300.0), rows=256, columns=256),
    "no frame of reference": image((0.0, 0.0, -300.0), frame_of_reference=""),
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
@pytest.mark.parametrize("first", [True, False])
def test_one_odd_object_neither_declines_nor_misroutes_a_scan(odd, first):
    slices = stack(body_part="HIP", kernel="STANDARD", series_description="Hip")
    headers = [odd, *slices] if first else [*slices, odd]
    assert judge(headers, GONE, RULES).state is JobState.COMPLETE
    assert replace(Candidate.read(headers), series_uid="") == replace(Candidate.read(slices), series_uid="")


def test_odd_objects_in_any_order_change_nothing():
    slices = stack(body_part="HIP")
    headers = [*slices, *(ODD[name] for name in ("dose report", "key objects", "scout", "unmarked scout"))]
    random.Random(2).shuffle(headers)
    assert set(scan_of(headers).images) == set(slices)


def test_an_odd_image_in_the_place_of_a_slice_is_not_set_aside():
    slices = stack()
    slices[40] = replace(slices[40], frame_of_reference="1.9")
    assert judge(slices, QUIET, RULES).code == Reason.MIXED_FRAME_OF_REFERENCE
    slices[40] = replace(slices[40], frame_of_reference="1.5", position=None)
    decision = judge(slices, QUIET, RULES)
    assert decision.code == Reason.MISSING_GEOMETRY
    assert "1 of 120 images lack ImagePositionPatient, or have no valid numbers there" in decision.reason


def test_too_many_odd_images_are_a_fault_of_the_series():
    odd = [image((0.0, 0.0, 300.0 + n), rows=256) for n in range(7)]
    assert judge([*stack(), *odd], QUIET, RULES).code == Reason.MIXED_GRID


def test_a_frame_of_reference_for_each_image_is_said_plainly():
    slices = [replace(one, frame_of_reference=f"1.5.{n}") for n, one in enumerate(stack())]
    decision = judge(slices, QUIET, RULES)
    assert decision.code == Reason.MIXED_FRAME_OF_REFERENCE
    assert "120 different frames of reference" in decision.reason
    assert "the positions of its images form one regular stack" in decision.reason


@pytest.mark.parametrize(
    ("index", "reason", "name"),
    [
        (0, Reason.MIXED_PATIENT, "PatientID"), (1, Reason.MIXED_PATIENT, "IssuerOfPatientID"),
        (2, Reason.MIXED_PATIENT, "PatientName"), (3, Reason.MIXED_PATIENT, "PatientBirthDate"),
        (4, Reason.MIXED_STUDY, "StudyDate"),
    ],
)  # fmt: skip
def test_images_of_two_patients_are_held_by_the_names_of_the_attributes(index, reason, name):
    one = ("a1", "", "b2", "c3", "d4")
    other = (*one[:index], "ff", *one[index + 1 :])
    slices = [replace(s, identity=one if n < 70 else other) for n, s in enumerate(stack())]
    decision = judge(slices, QUIET, RULES)
    assert (decision.state, decision.code) == (JobState.HELD, reason)
    assert f"(70 and 50 images): they differ in {name};" in decision.reason
    assert "ff" not in decision.reason.replace("differ", "")
    assert judge(slices, replace(QUIET, forced=True), RULES).state is JobState.COMPLETE


def test_images_whose_identity_nobody_has_read_are_not_compared():
    slices = [replace(s, identity=("a", "", "", "", "") if n < 70 else ()) for n, s in enumerate(stack())]
    assert judge(slices, QUIET, RULES).state is JobState.COMPLETE


@pytest.mark.parametrize(("low", "high"), [(4.0, 7.0), (7.0, 4.0), (5.0, 2.5)])
def test_a_step_that_changes_is_told_as_such(low, high):
    slices = stack(21, low, 0.0) + stack(20, high, 20 * low + high)
    assert judge(slices, QUIET, RULES).state is JobState.RECEIVED
    decision = judge(slices, LATE, RULES)
    assert (decision.state, decision.code) == (JobState.HELD, Reason.UNEVEN_STEPS)
    assert f"changes from {low:.2f} to {high:.2f} mm at z={20 * low:.1f} mm" in decision.reason
    assert "send what is missing" not in decision.reason


@pytest.mark.parametrize(
    ("finding", "code"),
    [
        ({"other_sender": True}, Reason.OTHER_SENDER), ({"other_study": True}, Reason.MIXED_STUDY),
        ({"corrected": 3}, Reason.CORRECTED_PATIENT),
    ],
)  # fmt: skip
def test_a_finding_holds_a_complete_series_until_a_person_releases_it(finding, code):
    decision = judge(stack(), replace(QUIET, **finding), RULES)
    assert (decision.state, decision.code) == (JobState.HELD, code)
    assert judge(stack(), replace(QUIET, forced=True, **finding), RULES).state is JobState.COMPLETE
    gap = [*stack()[:50], *stack()[51:]]
    assert judge(gap, replace(QUIET, **finding), RULES).state is JobState.RECEIVED, "it waits for the rest first"


def test_a_change_of_sender_may_be_accepted():
    rules = RULES.model_copy(update={"other_sender": "accept"})
    assert judge(stack(), replace(QUIET, other_sender=True), rules).state is JobState.COMPLETE


# --- senders that pause


def test_a_sender_that_has_paused_is_waited_for_longer():
    paused = replace(GONE, pause=22.0)
    decision = judge(stack(), paused, RULES)
    assert (decision.state, decision.reason) == (
        JobState.RECEIVED, "waiting: its sender has paused for 22 s before, so no slice must come for 33 s",
    )  # fmt: skip
    assert judge(stack(), replace(paused, quiet=32.0, ended=32.0), RULES).state is JobState.RECEIVED
    assert judge(stack(), replace(paused, quiet=33.5, ended=33.0), RULES).state is JobState.COMPLETE
    assert judge(stack(), replace(LATE, pause=400.0), RULES).state is JobState.COMPLETE


def test_what_would_be_refused_as_too_short_waits_three_quiet_times():
    assert judge(stack(30), QUIET, RULES).state is JobState.RECEIVED
    assert judge(stack(30), Evidence(quiet=30.5, waited=40, ended=30), RULES).state is JobState.COMPLETE
    assert judge(stack(45), QUIET, RULES).state is JobState.COMPLETE
