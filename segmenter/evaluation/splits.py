"""Split cases into held-out ones and folds, by group, so that a group is never divided, and by sex."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segmenter.errors import Reason, SegmenterError, Verdict
from segmenter.evaluation.cases import Case
from segmenter.evaluation.listing import Sex

HELD_OUT = 0.1

Group = list[Case]


@dataclass(frozen=True)
class Split:
    """One cohort: the cases held out for the test, and the others in folds, each case in exactly one."""

    held_out: tuple[Case, ...]
    folds: tuple[tuple[Case, ...], ...]

    @property
    def cases(self) -> list[Case]:
        """All cases of the cohort."""
        return [*self.held_out, *(case for fold in self.folds for case in fold)]

    def training(self, fold: int) -> list[Case]:
        """Return the cases a fold's network learns from: those of all other folds."""
        return [case for number, cases in enumerate(self.folds) if number != fold for case in cases]


def split_cohorts(cases: Sequence[Case], folds: int, seed: int) -> dict[str, Split]:
    """Return the splits of the whole cohort, the women and the men; with one sex only the whole cohort.

    A tenth of each sex is held out, the same cases for every cohort, so that no network is trained on them. Raises
    SegmenterError(CASES) naming every cohort that has too few groups for the folds.
    """
    held_out = hold_out(cases, seed)
    present = sorted({case.listed.sex for case in cases})
    cohorts = {"whole": list(cases)}
    if len(present) > 1:
        names = {Sex.FEMALE: "women", Sex.MALE: "men"}
        cohorts |= {names[sex]: [case for case in cases if case.listed.sex is sex] for sex in present}
    splits, faults = {}, []
    for name, members in cohorts.items():
        rest = [case for case in members if case not in held_out]
        count = len(grouped(rest))
        if count < folds:
            faults.append(
                f"{name}: {folds} folds need as many groups of cases beside those held out, there are {count}: "
                "add cases or give fewer --folds"
            )
            continue
        splits[name] = Split(tuple(case for case in members if case in held_out), k_folds(rest, folds, seed))
    if faults:
        raise SegmenterError(Reason.CASES, "\n".join(faults), Verdict.FAILED)
    return splits


def hold_out(cases: Sequence[Case], seed: int) -> tuple[Case, ...]:
    """Return about a tenth of the cases of each sex, at least one of each, by whole groups; drawn by the seed."""
    counts = Counter(case.listed.sex for case in cases)
    wanted = {sex: max(1, round(HELD_OUT * count)) for sex, count in counts.items()}
    groups = _shuffled(cases, seed)
    taken: Group = []
    for group in groups:
        after = Counter(case.listed.sex for case in taken + group)
        if all(after[sex] <= wanted[sex] for sex in wanted):
            taken += group
    for sex in wanted:
        # Every group with this sex exceeds the tenth: take the smallest.
        if not any(case.listed.sex is sex for case in taken):
            having = [group for group in groups if any(case.listed.sex is sex for case in group)]
            taken += sorted(having, key=len)[0]
    names = {case.name for case in taken}
    return tuple(case for case in cases if case.name in names)


def k_folds(cases: Sequence[Case], folds: int, seed: int) -> tuple[tuple[Case, ...], ...]:
    """Return the cases in folds: groups from the largest down, each to the fold with the fewest of its sexes."""
    total = Counter(case.listed.sex for case in cases)
    filled: list[Group] = [[] for _ in range(folds)]

    def crowd(fold: Group, group: Group) -> tuple[float, int]:
        there = Counter(case.listed.sex for case in fold)
        return sum(there[case.listed.sex] / total[case.listed.sex] for case in group), len(fold)

    for group in sorted(_shuffled(cases, seed), key=len, reverse=True):
        min(filled, key=lambda fold: crowd(fold, group)).extend(group)
    return tuple(tuple(sorted(fold, key=lambda case: case.name)) for fold in filled)


def grouped(cases: Sequence[Case]) -> list[Group]:
    """Return the cases by group, in the order in which the groups appear."""
    groups: dict[str, Group] = {}
    for case in cases:
        groups.setdefault(case.listed.group, []).append(case)
    return list(groups.values())


def _shuffled(cases: Sequence[Case], seed: int) -> list[Group]:
    groups = grouped(cases)
    return [groups[place] for place in np.random.default_rng(seed).permutation(len(groups))]
