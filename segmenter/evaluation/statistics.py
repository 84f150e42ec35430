"""The figures of many femurs: spread of each measure, regression and agreement of the volumes, by cohort."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from segmenter.evaluation.listing import Listed, Sex
from segmenter.evaluation.metrics import CaseScore, FemurScore
from segmenter.volume.femur import Side

MEASURES = ("dice", "sensitivity", "specificity", "assd_mm", "hd95_mm")
AGREEMENT = 1.96  # standard deviations that hold 95 % of normally distributed differences


@dataclass(frozen=True)
class CaseResult:
    """One case with its scores."""

    name: str
    listed: Listed
    score: CaseScore
    seconds: float


@dataclass(frozen=True)
class Spread:
    """A measure over n femurs; sd is the sample's (n - 1) and None of a single value."""

    n: int
    mean: float
    sd: float | None
    median: float
    min: float
    max: float


@dataclass(frozen=True)
class Volumes:
    """Found against true volumes, mL: linear regression, and bias (found - true) with 95 % limits of agreement.

    A missed femur counts with 0 mL. A figure that needs more femurs is None.
    """

    n: int
    slope: float | None
    intercept_ml: float | None
    r2: float | None
    p: float | None
    bias_ml: float
    lower_ml: float | None
    upper_ml: float | None


@dataclass(frozen=True)
class Summary:
    """The figures of one cohort, side or stratum. Distances are of the femurs that were found: see `missed`."""

    cases: int
    femora: int  # a key of evaluation.json
    missed: int
    measures: Mapping[str, Spread]
    volumes: Volumes


def spread(values: Iterable[float]) -> Spread | None:
    """Return the spread of the finite values, None when there are none."""
    finite = np.array([value for value in values if math.isfinite(value)])
    if not finite.size:
        return None
    sd = float(finite.std(ddof=1)) if finite.size > 1 else None
    return Spread(
        finite.size, float(finite.mean()), sd, float(np.median(finite)), float(finite.min()), float(finite.max())
    )


def volumes(found: Sequence[float], truth: Sequence[float]) -> Volumes:
    """Compare volumes in mL, of at least one femur."""
    differences = np.subtract(found, truth)
    bias = float(differences.mean())
    reach = AGREEMENT * float(differences.std(ddof=1)) if differences.size > 1 else None
    line = stats.linregress(truth, found) if differences.size > 2 and len(set(truth)) > 1 else None
    return Volumes(
        n=differences.size,
        slope=float(line.slope) if line else None,
        intercept_ml=float(line.intercept) if line else None,
        r2=float(line.rvalue) ** 2 if line else None,
        p=float(line.pvalue) if line else None,
        bias_ml=bias,
        lower_ml=None if reach is None else bias - reach,
        upper_ml=None if reach is None else bias + reach,
    )


def summarise(cases: Sequence[CaseResult], side: Side | None = None) -> Summary | None:
    """Return the figures of the cases, of one side or both; None without a femur."""
    chosen = {case.name: [f for f in case.score.femurs if side in (None, f.side)] for case in cases}
    femurs: list[FemurScore] = [femur for found in chosen.values() for femur in found]
    if not femurs:
        return None
    spreads = {name: spread(getattr(femur, name) for femur in femurs) for name in MEASURES}
    return Summary(
        cases=sum(bool(found) for found in chosen.values()),
        femora=len(femurs),
        missed=sum(femur.missed for femur in femurs),
        measures={name: values for name, values in spreads.items() if values},
        volumes=volumes([femur.volume_ml for femur in femurs], [femur.truth_ml for femur in femurs]),
    )


def breakdown(cases: Sequence[CaseResult]) -> dict[str, Summary]:
    """Return the figures of the whole cohort, the women, the men, each side and each stratum, if present."""
    women = [case for case in cases if case.listed.sex is Sex.FEMALE]
    men = [case for case in cases if case.listed.sex is Sex.MALE]
    parts = {
        "whole": summarise(cases),
        "women": summarise(women),
        "men": summarise(men),
        **{str(side): summarise(cases, side) for side in Side},
    }
    for stratum in sorted({case.listed.stratum for case in cases} - {""}):
        parts[f"stratum {stratum}"] = summarise([case for case in cases if case.listed.stratum == stratum])
    return {name: part for name, part in parts.items() if part is not None}
