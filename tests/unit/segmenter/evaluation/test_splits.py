"""Splits: nothing that belongs together is torn apart, each case is validated once, both sexes are held out."""

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmenter.errors import SegmenterError
from segmenter.evaluation.cases import Case
from segmenter.evaluation.listing import Listed, Sex
from segmenter.evaluation.splits import Split, hold_out, split_cohorts
from segmenter.volume.femur import Side


def cohort(women: int, men: int, group_of: int = 1) -> list[Case]:
    sexes = [Sex.FEMALE] * women + [Sex.MALE] * men
    return [
        Case(f"c{n:03}", Path(f"c{n:03}"), Listed(sex, f"{sex} {n // group_of}"), (Side.LEFT,))
        for n, sex in enumerate(sexes)
    ]


def parts(split: Split) -> list[tuple[Case, ...]]:
    return [split.held_out, *split.folds]


@settings(deadline=None, max_examples=40)
@given(st.integers(24, 60), st.integers(24, 60), st.integers(1, 3), st.integers(0, 99))
def test_groups_stay_together_and_each_case_is_in_one_place(women: int, men: int, group_of: int, seed: int):
    cases = cohort(women, men, group_of)
    for name, split in split_cohorts(cases, 5, seed).items():
        members = [case for case in cases if name == "whole" or case.listed.sex == {"women": "F", "men": "M"}[name]]
        placed = Counter(case.name for part in parts(split) for case in part)
        assert placed == Counter(case.name for case in members)
        homes = [{case.listed.group for case in part} for part in parts(split)]
        assert sum(len(home) for home in homes) == len(set().union(*homes))
        assert all(part for part in parts(split))


def test_the_numbers_are_the_papers():
    """216 women and 181 men: a tenth held out, the rest in ten folds of equal size and mix."""
    split = split_cohorts(cohort(216, 181), 10, 1)["whole"]
    assert Counter(case.listed.sex for case in split.held_out) == {"F": 22, "M": 18}
    assert {len(fold) for fold in split.folds} <= {35, 36, 37}
    women = [sum(case.listed.sex is Sex.FEMALE for case in fold) for fold in split.folds]
    assert max(women) - min(women) <= 1


def test_the_same_cases_are_held_out_for_every_cohort():
    splits = split_cohorts(cohort(30, 20), 3, 7)
    assert set(splits["women"].held_out) | set(splits["men"].held_out) == set(splits["whole"].held_out)
    assert {case.listed.sex for case in splits["women"].held_out} == {Sex.FEMALE}


def test_a_fold_learns_from_all_other_folds_and_never_from_itself_or_the_held_out():
    split = split_cohorts(cohort(12, 12), 4, 2)["whole"]
    for number, fold in enumerate(split.folds):
        learned = set(split.training(number))
        assert learned == set(split.cases) - set(split.held_out) - set(fold)


def test_the_seed_draws_and_nothing_else():
    cases = cohort(40, 40)
    assert hold_out(cases, 3) == hold_out(cases, 3)
    draws = [hold_out(cases, seed) for seed in range(4)]
    assert all(a != b for a, b in pairwise(draws))


def test_one_sex_alone_has_one_cohort():
    assert list(split_cohorts(cohort(12, 0), 3, 1)) == ["whole"]


def test_a_sex_whose_groups_are_all_large_is_held_out_nevertheless():
    held_out = hold_out(cohort(12, 12, group_of=4), 1)
    assert Counter(case.listed.sex for case in held_out) == {"F": 4, "M": 4}


def test_too_few_cases_are_named_for_every_cohort():
    with pytest.raises(SegmenterError) as caught:
        split_cohorts(cohort(8, 5), 10, 1)
    lines = str(caught.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["women", "men"]
    assert "10 folds need as many groups" in lines[0]
    assert "there are 7" in lines[0]
    assert "there are 4" in lines[1]
