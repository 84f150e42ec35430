"""Left against right: only two complete femurs, only regions that both have and that mean the same."""

from dataclasses import replace

import pytest

from segmenter.measure.asymmetry import asymmetry, percent
from segmenter.measure.records import FemurMeasurements, Region

RULE = "100 mm below the top of the head"


def femur(side: str, scale: float = 1.0, **changes: object) -> FemurMeasurements:
    regions = tuple(
        Region(name, 100 * scale, 1000, 300 * scale, 50.0, 250 * scale, 25 * scale) for name in ("integral", "total")
    )
    return replace(FemurMeasurements(side, True, (), regions, total_rule=RULE), **changes)  # type: ignore[arg-type]


def test_every_common_region_is_compared():
    found = asymmetry([femur("left", 1.1), femur("right", 0.9)])
    assert [one.region for one in found] == ["integral", "total"]
    for one in found:
        assert one.volume_percent == pytest.approx(20)
        assert one.mean_hu_difference == pytest.approx(60)
        assert one.vbmd_percent == pytest.approx(20)
        assert one.bmc_percent == pytest.approx(20)


def test_the_order_of_the_femurs_does_not_matter():
    assert asymmetry([femur("right", 0.9), femur("left", 1.1)]) == asymmetry([femur("left", 1.1), femur("right", 0.9)])


@pytest.mark.parametrize(
    "femurs",
    [
        [],
        [femur("left")],
        [femur("left"), femur("left")],
        [femur("left"), femur("right", complete=False, incomplete_reasons=("head cut off by the scan",))],
    ],
)
def test_less_than_two_complete_femurs_are_not_compared(femurs):
    assert asymmetry(femurs) == ()


def test_totals_cut_by_different_rules_are_not_compared():
    other = femur("right", total_rule="20 mm below the tip of the lesser trochanter")
    assert [one.region for one in asymmetry([femur("left"), other])] == ["integral"]


def test_a_region_that_one_side_lacks_is_not_compared():
    other = femur("right")
    assert [one.region for one in asymmetry([femur("left"), replace(other, regions=other.regions[:1])])] == ["integral"]


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [(110.0, 90.0, 20.0), (1.0, 1.0, 0.0), (None, 3.0, None), (3.0, None, None), (-20.0, 30.0, None), (0.0, 1.0, None)],
)
def test_percent_is_of_the_mean_of_both(left, right, expected):
    assert percent(left, right) == (None if expected is None else pytest.approx(expected))
