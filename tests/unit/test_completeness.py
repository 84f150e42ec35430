import random
from dataclasses import replace

import pytest

from node.completeness import judge
from node.ledger.records import Header
from node.states import JobState, Reason

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
OBLIQUE = (0.8, 0.0, 0.6, 0.0, 1.0, 0.0)


def image(place=(0.0, 0.0, 0.0), **other):
    values = {
        "study_uid": "1",
        "series_uid": "1.2",
        "sop_uid": "1.2.3",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
        "modality": "CT",
        "image_type": ("ORIGINAL", "PRIMARY", "AXIAL"),
        "frame_of_reference": "1.5",
        "rows": 512,
        "columns": 512,
        "orientation": AXIAL,
        "spacing": (0.7, 0.7),
    }
    return Header(position=place, **(values | other))


def stack(count=30, step=1.0, start=-100.0, **other):
    return [image((-170.0, -180.0, start + step * n), **other) for n in range(count)]


def verdict(headers):
    decision = judge(headers)
    return decision.state, decision.code, decision.reason


@pytest.mark.parametrize("step", [1.0, -1.0, 0.625, 3.0])
def test_an_even_stack_in_any_order_is_complete(step):
    slices = stack(60, step)
    random.Random(1).shuffle(slices)
    assert verdict(slices) == (JobState.COMPLETE, "", "")


def test_positions_rounded_by_the_scanner_are_no_gaps():
    slices = [image((0.0, 0.0, round(0.625 * n, 1))) for n in range(80)]
    assert judge(slices).state is JobState.COMPLETE


def test_other_planes_are_stacked_along_their_own_normal():
    coronal = [image((0.0, 2.0 * n, 0.0), orientation=CORONAL) for n in range(30)]
    oblique = [image((-0.6 * n, 0.0, 0.8 * n), orientation=OBLIQUE) for n in range(40)]
    assert judge(coronal).state is JobState.COMPLETE
    assert judge(oblique).state is JobState.COMPLETE


@pytest.mark.parametrize("step", [4.0, -4.0])
def test_a_missing_slice_is_named_by_its_neighbours(step):
    slices = stack(20, step, start=-120.0)
    del slices[7]
    low, high = sorted((-120.0 + 6 * step, -120.0 + 8 * step))
    assert verdict(slices) == (JobState.HELD, Reason.GAP, f"a slice is missing between z={low} and z={high} mm")


def test_several_missing_slices_are_counted():
    slices = stack(30)
    del slices[10:14]
    assert judge(slices).reason == "4 slices are missing between z=-91.0 and z=-86.0 mm"


def test_a_gap_of_a_coronal_stack_is_named_along_y():
    slices = [image((0.0, 2.0 * n, 0.0), orientation=CORONAL) for n in range(30) if n != 5]
    assert judge(slices).reason == "a slice is missing between y=8.0 and y=12.0 mm"


def test_copies_at_one_place_are_left_to_the_segmenter():
    assert judge(stack() + stack()).state is JobState.COMPLETE


@pytest.mark.parametrize("slices", [stack(1), stack(10, 1.0), stack(1) * 5])
def test_a_handful_of_slices_is_declined(slices):
    state, code, reason = verdict(slices)
    assert (state, code) == (JobState.DECLINED, Reason.TOO_SHORT)
    assert "20 mm are needed" in reason


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
def test_one_odd_slice_holds_the_series(odd, code):
    slices = stack()
    slices[3] = replace(slices[3], **odd)
    assert verdict(slices)[:2] == (JobState.HELD, code)


def test_noise_in_the_cosines_is_no_other_orientation():
    slices = stack()
    slices[3] = replace(slices[3], orientation=(0.9999999, 0.0, 0.0001, 0.0, 1.0, 0.0))
    assert judge(slices).state is JobState.COMPLETE


def test_localisers_alone_are_declined_and_among_slices_left_out():
    scout = image((0.0, 0.0, 0.0), image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"), orientation=CORONAL)
    assert verdict([scout, scout])[:2] == (JobState.DECLINED, Reason.LOCALISER)
    assert judge([*stack(), scout]).state is JobState.COMPLETE


def test_an_enhanced_object_is_whole_by_itself():
    enhanced = image(None, frames=120, orientation=None, sop_class_uid="1.2.840.10008.5.1.4.1.1.2.1")
    assert judge([enhanced]).state is JobState.COMPLETE


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
