"""Which of several series of one study is the best to be segmented: a pure ranking that says why.

Criterion by criterion the series that fall behind drop out, until one is left. So a small difference in one criterion
leaves the choice to the next, and the order of the series does not matter.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

from node.decide.candidate import Candidate
from node.records.jobs import Decision
from node.records.states import JobState, Reason

THIN_ENOUGH_MM = 0.5  # thinner slices have more noise and show no more of a femur
SAME_THICKNESS_MM = 0.3
SAME_LENGTH_MM = 10.0

STANDARD, BETWEEN, SHARP = range(3)
KERNELS = ("a soft or standard kernel", "a medium or unknown kernel", "a sharp kernel")
SHARP_WORDS = re.compile(r"BONE|LUNG|SHARP|EDGE|CHST|INNER EAR|\bULTRA\b")
STANDARD_WORDS = re.compile(r"STANDARD|STND|\bSTD|SOFT|SMOOTH|BODY|ROUTINE")
SIEMENS = re.compile(r"(?:[BDHIJQSTU]|B[FLRV]|H[CFNR]|QR|SA|TR|U[BR])(\d{2})(?!\d)")
CANON = re.compile(r"FC(\d{2})")
CANON_SHARP = {3, 5, 8}  # families: bone, lung, high resolution
PHILIPS_STANDARD = {"A", "B", "C", "CA", "CB"}
PHILIPS_SHARP = {"D", "E", "F", "L", "CC", "CD", "YA", "YB", "YC", "YD"}

PROJECTIONS = {"MIP", "MINIP", "MAX_IP", "MIN_IP", "MAXIMUM", "MINIMUM", "PROJECTION IMAGE", "VOLREN", "VRT", "SSD"}
REFORMATIONS = {"DERIVED", "SECONDARY", "MPR", "MPR_THICK", "MPR_THIN", "REFORMATTED", "CORONAL", "SAGITTAL", "OBLIQUE"}
KINDS = ("original axial images", "reformations or derived images", "projections")


@dataclass(frozen=True)
class Ranked:
    """A series at its rank. why: what the best series has instead; empty for the best itself."""

    candidate: Candidate
    why: str = ""


@dataclass(frozen=True)
class Criterion:
    """One thing series are compared by: the lower `cost` is better, but not if it differs by no more than `same`."""

    cost: Callable[[Candidate], float]
    same: float
    say: Callable[[Candidate], str]


def rank(candidates: Sequence[Candidate]) -> list[Ranked]:
    """Return the series, the best first; each other one with the criterion in which it fell behind the best.

    candidates: in the order of their arrival, which decides between equals.
    """
    reasons: dict[int, str] = {}
    order: list[int] = []
    while len(order) < len(candidates):
        best, fell = _contest(candidates, [i for i in range(len(candidates)) if i not in order])
        reasons = reasons or fell
        order.append(best)
    return [Ranked(candidates[i], reasons.get(i, "")) for i in order]


def passed_over(ranked: Sequence[Ranked], route: str) -> dict[str, Decision]:
    """Return the decision about every series but the best, by Series Instance UID: declined, as the best is better."""
    best, *others = ranked
    sentence = f"series {best.candidate.name} of the study is better: "
    return {
        other.candidate.series_uid: Decision(JobState.DECLINED, Reason.NOT_BEST, sentence + other.why, route=route)
        for other in others
    }


def _contest(candidates: Sequence[Candidate], left: Sequence[int]) -> tuple[int, dict[int, str]]:
    """Return the index of the best of those left, and by index why each other one is not."""
    fell: dict[int, Criterion | None] = {}
    for criterion in CRITERIA:
        costs = {i: criterion.cost(candidates[i]) for i in left}
        limit = min(costs.values()) + criterion.same
        fell |= {i: criterion for i in left if costs[i] > limit}
        left = [i for i in left if costs[i] <= limit]
    best = left[0]
    fell |= dict.fromkeys(left[1:])
    return best, {i: _instead(criterion, candidates[best], candidates[i]) for i, criterion in fell.items()}


def _instead(criterion: Criterion | None, best: Candidate, other: Candidate) -> str:
    if criterion is None:
        return "it came first, and nothing else tells them apart"
    return f"{criterion.say(best)} instead of {criterion.say(other)}"


def sharpness(kernel: str) -> int:
    """Return STANDARD, BETWEEN (or unknown) or SHARP for a Convolution Kernel, as the usual vendors name them.

    Siemens: two digits that rise with sharpness (B30f, Br40d, Qr40, I70f, Bl64). GE and others: words. Philips: one or
    two letters. Canon: FC and a number whose first digit is the family.
    """
    name = kernel.split("\\", maxsplit=1)[0].strip().upper()
    siemens, canon = SIEMENS.match(name), CANON.match(name)
    if SHARP_WORDS.search(name) or name in PHILIPS_SHARP:
        return SHARP
    if STANDARD_WORDS.search(name) or name in PHILIPS_STANDARD:
        return STANDARD
    if canon:
        return SHARP if int(canon[1]) // 10 in CANON_SHARP else STANDARD
    if siemens:
        return STANDARD if int(siemens[1]) < 45 else BETWEEN if int(siemens[1]) < 50 else SHARP
    return BETWEEN


def kind(candidate: Candidate) -> int:
    """Return 0 for original axial images, 1 for reformations and what else is derived, 2 for projections.

    Image Type says so (PS3.3 C.8.2.1.1.1), and geometry where it forgets to.
    """
    words = {word.upper() for word in candidate.image_type}
    if words & PROJECTIONS:
        return 2
    return int(bool(words & REFORMATIONS) or candidate.axial is False)


def slice_mm(candidate: Candidate) -> float | None:
    """Return what one slice stands for: its thickness, or the distance to the next where they lie further apart."""
    known = [value for value in (candidate.thickness_mm, candidate.step_mm) if value is not None]
    return max(known, default=None)


def _kernel(candidate: Candidate) -> str:
    return KERNELS[sharpness(candidate.kernel)] + (f" ({candidate.kernel})" if candidate.kernel else "")


def _thickness_cost(candidate: Candidate) -> float:
    found = slice_mm(candidate)
    return inf if found is None else max(found, THIN_ENOUGH_MM)


def _thickness(candidate: Candidate) -> str:
    found = slice_mm(candidate)
    return "slices of unknown thickness" if found is None else f"{found:.2f}".removesuffix("0") + " mm slices"


def _length(candidate: Candidate) -> str:
    return "an unknown length" if candidate.length_mm is None else f"{candidate.length_mm:.0f} mm of length"


CRITERIA = (
    Criterion(kind, 0, lambda c: KINDS[kind(c)]),
    Criterion(lambda c: sharpness(c.kernel), 0, _kernel),
    Criterion(lambda c: c.contrast, 0, lambda c: "contrast medium" if c.contrast else "no contrast medium"),
    Criterion(_thickness_cost, SAME_THICKNESS_MM, _thickness),
    Criterion(lambda c: inf if c.length_mm is None else -c.length_mm, SAME_LENGTH_MM, _length),
    Criterion(lambda c: -c.slices, 0, lambda c: f"{c.slices} slices"),
)
