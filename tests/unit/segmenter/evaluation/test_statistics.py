"""The figures against closed forms worked out here."""

import math

import numpy as np
import pytest
from scipy import stats

from segmenter.evaluation.listing import Listed, Sex
from segmenter.evaluation.metrics import CaseScore, FemurScore
from segmenter.evaluation.statistics import CaseResult, breakdown, spread, summarise, volumes
from segmenter.volume.femur import Side


def femur(side: Side, dice: float, found: float = 100.0, truth: float = 100.0) -> FemurScore:
    distance = math.inf if dice == 0 else 0.5
    return FemurScore(side, dice, dice, 0.999, found, truth, distance, 2 * distance, missed=dice == 0)


def case(name: str, sex: Sex, *femurs: FemurScore, stratum: str = "") -> CaseResult:
    return CaseResult(name, Listed(sex, f"case {name}", stratum), CaseScore(femurs, 0, 0), 1.0)


COHORT = [
    case("a", Sex.FEMALE, femur(Side.LEFT, 0.9, 95, 90), femur(Side.RIGHT, 0.8, 101, 99), stratum="thin"),
    case("b", Sex.MALE, femur(Side.LEFT, 0.7, 150, 160), stratum="thick"),
    case("c", Sex.FEMALE, femur(Side.RIGHT, 0.0, 0, 120), stratum="thin"),
]


def test_regression_and_agreement_are_those_of_the_textbooks():
    rng = np.random.default_rng(3)
    truth = rng.uniform(80, 200, 25)
    found = 3 + 0.97 * truth + rng.normal(0, 4, 25)
    result = volumes(list(found), list(truth))
    slope = np.cov(truth, found)[0, 1] / truth.var(ddof=1)
    r = np.corrcoef(truth, found)[0, 1]
    t = r * math.sqrt(23 / (1 - r**2))
    assert result.slope == pytest.approx(slope)
    assert result.intercept_ml == pytest.approx(found.mean() - slope * truth.mean())
    assert result.r2 == pytest.approx(r**2)
    assert result.p == pytest.approx(2 * stats.t.sf(t, 23))
    difference = found - truth
    assert result.bias_ml == pytest.approx(difference.mean())
    assert result.lower_ml == pytest.approx(difference.mean() - 1.96 * difference.std(ddof=1))
    assert result.upper_ml == pytest.approx(difference.mean() + 1.96 * difference.std(ddof=1))


@pytest.mark.parametrize("truth", [[100.0], [100.0, 110.0], [100.0, 100.0, 100.0]])
def test_what_too_few_femurs_do_not_determine_is_none(truth: list[float]):
    result = volumes([v + 2 for v in truth], truth)
    assert (result.slope, result.r2, result.p) == (None, None, None)
    assert result.bias_ml == pytest.approx(2)
    assert (result.lower_ml is None) == (len(truth) == 1)


def test_spread_is_of_the_finite_values():
    values = spread([1.0, 2.0, 6.0, math.inf])
    assert values is not None
    assert (values.n, values.mean, values.median, values.min, values.max) == (3, 3, 2, 1, 6)
    assert values.sd == pytest.approx(math.sqrt((4 + 1 + 9) / 2))
    assert spread([math.inf]) is None


def test_a_missed_femur_counts_in_dice_and_volume_and_is_named():
    summary = summarise(COHORT)
    assert summary is not None
    assert (summary.cases, summary.femora, summary.missed) == (3, 4, 1)
    assert summary.measures["dice"].mean == pytest.approx((0.9 + 0.8 + 0.7 + 0) / 4)
    assert summary.measures["dice"].min == 0
    assert summary.measures["hd95_mm"].n == 3
    assert summary.volumes.bias_ml == pytest.approx((5 + 2 - 10 - 120) / 4)


def test_cohorts_sides_and_strata_hold_their_own():
    parts = breakdown(COHORT)
    assert {name: (part.cases, part.femora) for name, part in parts.items()} == {
        "whole": (3, 4), "women": (2, 3), "men": (1, 1), "left": (2, 2), "right": (2, 2),
        "stratum thick": (1, 1), "stratum thin": (2, 3),
    }  # fmt: skip
    assert parts["left"].measures["dice"].mean == pytest.approx(0.8)
    assert "hd95_mm" not in breakdown([COHORT[2]])["whole"].measures
