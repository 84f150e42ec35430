from dataclasses import replace
from itertools import permutations

import pytest

from node.decide.candidate import Candidate
from node.decide.ranking import BETWEEN, SHARP, STANDARD, kind, rank, sharpness, slice_mm

BASE = Candidate(
    series_uid="base", kernel="B40f", image_type=("ORIGINAL", "PRIMARY", "AXIAL"), thickness_mm=1.0, step_mm=1.0,
    axial=True, slices=300, length_mm=299.0,
)  # fmt: skip


def other(**values):
    return replace(BASE, series_uid="other", **values)


@pytest.mark.parametrize(
    ("worse", "why"),
    [
        (
            {"image_type": ("DERIVED", "SECONDARY", "MPR"), "axial": False},
            "original axial images instead of reformations or derived images",
        ),
        ({"image_type": ("DERIVED", "PRIMARY", "MIP")}, "original axial images instead of projections"),
        ({"kernel": "B70f"}, "a soft or standard kernel (B40f) instead of a sharp kernel (B70f)"),
        ({"kernel": ""}, "a soft or standard kernel (B40f) instead of a medium or unknown kernel"),
        ({"contrast": True}, "no contrast medium instead of contrast medium"),
        ({"thickness_mm": 3.0, "step_mm": 3.0}, "1.0 mm slices instead of 3.0 mm slices"),
        ({"thickness_mm": 1.0, "step_mm": 10.0}, "1.0 mm slices instead of 10.0 mm slices"),
        ({"thickness_mm": 1.375}, "1.0 mm slices instead of 1.38 mm slices"),
        ({"thickness_mm": None, "step_mm": None}, "1.0 mm slices instead of slices of unknown thickness"),
        ({"length_mm": 150.0, "slices": 151}, "299 mm of length instead of 150 mm of length"),
        ({"length_mm": None}, "299 mm of length instead of an unknown length"),
        ({"slices": 250}, "300 slices instead of 250 slices"),
        # The earlier criterion outweighs all later ones.
        ({"kernel": "BONE", "thickness_mm": 0.6, "step_mm": 0.6, "length_mm": 900.0, "slices": 1500},
         "a soft or standard kernel (B40f) instead of a sharp kernel (BONE)"),
        ({"contrast": True, "thickness_mm": 0.6, "step_mm": 0.6}, "no contrast medium instead of contrast medium"),
    ],
)  # fmt: skip
def test_one_series_is_better_than_another_and_says_why(worse, why):
    for candidates in ((BASE, other(**worse)), (other(**worse), BASE)):
        best, last = rank(candidates)
        assert (best.candidate, best.why) == (BASE, "")
        assert (last.candidate.series_uid, last.why) == ("other", why)


@pytest.mark.parametrize(
    "same",
    [
        {},
        {"thickness_mm": 1.2, "step_mm": 1.2},
        {"thickness_mm": 0.75, "step_mm": 0.7},
        {"length_mm": 305.0},
        {"kernel": "STANDARD"},
        {"image_type": ("ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI")},
    ],
)
def test_what_does_not_matter_leaves_it_to_arrival(same):
    for candidates in ((BASE, other(**same)), (other(**same), BASE)):
        best, last = rank(candidates)
        assert (best.candidate, last.candidate) == candidates
        assert last.why == "it came first, and nothing else tells them apart"


def test_slices_below_half_a_millimetre_are_not_better():
    half, quarter = other(thickness_mm=0.5, step_mm=0.5, slices=600), other(thickness_mm=0.25, step_mm=0.25, slices=599)
    assert rank([quarter, half])[0].candidate is half


def test_a_small_difference_leaves_the_choice_to_the_next_criterion():
    longer = other(thickness_mm=1.25, step_mm=1.25, length_mm=400.0)
    assert [ranked.candidate for ranked in rank([BASE, longer])] == [longer, BASE]


def test_the_order_of_looking_changes_nothing():
    series = [
        BASE,
        replace(BASE, series_uid="a", thickness_mm=1.25, step_mm=1.25, length_mm=320.0),
        replace(BASE, series_uid="b", thickness_mm=1.5, step_mm=1.5, length_mm=350.0),
        replace(BASE, series_uid="c", kernel="B70f", thickness_mm=0.6, step_mm=0.6),
    ]
    for shuffled in permutations(series):
        ranked = rank(shuffled)
        assert [p.candidate.series_uid for p in ranked] == ["a", "base", "b", "c"]
        assert ranked[2].why == "1.25 mm slices instead of 1.5 mm slices"


def test_one_series_and_none():
    assert [(ranked.candidate, ranked.why) for ranked in rank([BASE])] == [(BASE, "")]
    assert rank([]) == []


@pytest.mark.parametrize(
    ("kernels", "expected"),
    [
        ("B10f B20s B30f B40f Br40d Br36f Hr40 Qr40 Sa36f Bv40 I30f I31f\\3 J30s H31s D30f B30f_x", STANDARD),
        ("B45f B46f Br48", BETWEEN),
        ("B50f B60f B70f B75f B80s Br64 Bl57d Hr60 I70f\\2 U90u", SHARP),
        ("STANDARD STND SOFT standard", STANDARD),
        ("BONE BONEPLUS LUNG EDGE CHST ULTRA", SHARP),
        ("DETAIL", BETWEEN),
        ("A B C", STANDARD),
        ("D E F L YA YB YC", SHARP),
        ("FC01 FC08 FC08-H FC12 FC18 FC43", STANDARD),
        ("FC30 FC51 FC52 FC81 FC86", SHARP),
        ("B_SOFT_B B_VSOFT_A", STANDARD),
        ("B_SHARP_C", SHARP),
        ("UNHEARD-OF 7 B1234", BETWEEN),
    ],
    ids=["Siemens soft", "Siemens medium", "Siemens sharp", "GE soft", "GE sharp", "GE medium", "Philips soft",
         "Philips sharp", "Canon soft", "Canon sharp", "United Imaging soft", "United Imaging sharp", "unknown"],
)  # fmt: skip
def test_kernels_of_the_vendors(kernels, expected):
    assert {name: sharpness(name) for name in kernels.split()} == dict.fromkeys(kernels.split(), expected)


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [("", BETWEEN), ("HD STND", STANDARD), ("BODY FILTER/BONE", SHARP), ("INNER EAR", SHARP), (" b30f ", STANDARD)],
)
def test_kernels_of_several_words(kernel, expected):
    assert sharpness(kernel) == expected


@pytest.mark.parametrize(
    ("words", "axial", "expected"),
    [
        (("ORIGINAL", "PRIMARY", "AXIAL"), True, 0),
        (("ORIGINAL", "PRIMARY", "AXIAL"), None, 0),
        ((), None, 0),
        (("ORIGINAL", "PRIMARY", "AXIAL"), False, 1),
        (("DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"), True, 1),
        (("DERIVED", "PRIMARY", "AXIAL"), True, 1),
        (("DERIVED", "SECONDARY", "AXIAL", "MIP"), True, 2),
        (("derived", "secondary", "MinIP"), True, 2),
        (("DERIVED", "SECONDARY", "PROJECTION IMAGE"), None, 2),
    ],
)
def test_what_kind_of_images_they_are(words, axial, expected):
    assert kind(Candidate(image_type=words, axial=axial)) == expected


@pytest.mark.parametrize(
    ("thickness", "step", "expected"), [(1.0, 0.5, 1.0), (1.0, 10.0, 10.0), (None, 2.0, 2.0), (None, None, None)]
)
def test_what_one_slice_stands_for(thickness, step, expected):
    assert slice_mm(Candidate(thickness_mm=thickness, step_mm=step)) == expected
