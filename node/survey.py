"""What the node would do with the series in a folder: the decisions of intake, routing and choice, without a node."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from math import inf
from pathlib import Path
from typing import Any

from node.candidate import Candidate
from node.completeness import judge
from node.errors import ObjectError
from node.headers import file_header
from node.ledger.records import Decision, Evidence, Header
from node.ranking import Placed, rank
from node.routing import Trial, explain, route
from node.settings import Settings
from node.states import JobState, Reason

LONG_AGO = Evidence(quiet=inf, waited=inf, ended=inf)
"""A sender that has gone: whatever is missing is not going to come."""

Found = dict[tuple[str, str], list[Header]]


@dataclass(frozen=True)
class Surveyed:
    """One series. whole: what completeness says. routed: what routing says. outcome: what would become of it."""

    candidate: Candidate
    objects: int
    whole: Decision
    routed: Decision
    trials: tuple[Trial, ...]
    outcome: Decision

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            **asdict(self.candidate),
            "objects": self.objects,
            "whole": _plain(self.whole),
            "routed": _plain(self.routed),
            "routes": [asdict(trial) for trial in self.trials],
            "outcome": _plain(self.outcome),
        }


@dataclass(frozen=True)
class SurveyedStudy:
    """The series of one study, and for each route that accepted several of them which is the best."""

    study_uid: str
    series: tuple[Surveyed, ...]
    rankings: dict[str, list[Placed]]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        rankings = [
            {
                "route": name,
                "series": [
                    {"series_uid": p.candidate.series_uid, "description": p.candidate.series_description, "why": p.why}
                    for p in placed
                ],
            }
            for name, placed in self.rankings.items()
        ]
        return {
            "study_uid": self.study_uid,
            "series": [series.to_dict() for series in self.series],
            "rankings": rankings,
        }


def read_folder(files: Iterable[Path]) -> tuple[Found, Counter[str]]:
    """Return the headers by study and series, in the order of the files, and how many files are broken in which way.

    Of files with the same SOP Instance UID the first counts, as in the node.
    """
    found: Found = defaultdict(list)
    seen: set[str] = set()
    broken: Counter[str] = Counter()
    for file in files:
        try:
            header = file_header(file)
        except ObjectError as error:
            broken[str(error)] += 1
            continue
        if header.sop_uid not in seen:
            seen.add(header.sop_uid)
            found[header.study_uid, header.series_uid].append(header)
    return found, broken


def survey(found: Found, settings: Settings, called_ae: str, calling_ae: str) -> list[SurveyedStudy]:
    """Decide about every series as if `calling_ae` had sent it to `called_ae` and had then gone."""
    studies: dict[str, list[Surveyed]] = defaultdict(list)
    for (study_uid, _), headers in found.items():
        candidate = replace(Candidate.read(headers), called_ae=called_ae, calling_ae=calling_ae)
        whole = judge(headers, LONG_AGO, settings.intake)
        routed = route(candidate, settings)
        outcome = routed if whole.state is JobState.COMPLETE else whole
        trials = tuple(explain(candidate, settings))
        studies[study_uid].append(Surveyed(candidate, len(headers), whole, routed, trials, outcome))
    return [_choose(study_uid, series, settings) for study_uid, series in studies.items()]


def _choose(study_uid: str, series: Sequence[Surveyed], settings: Settings) -> SurveyedStudy:
    """Rank what the same route accepts, and let only the best go on, unless all shall."""
    rivals: dict[str, list[Candidate]] = defaultdict(list)
    for each in series:
        if each.outcome.state is JobState.QUEUED:
            rivals[each.outcome.route].append(each.candidate)
    rankings = {name: rank(accepted) for name, accepted in rivals.items() if len(accepted) > 1}
    beaten: dict[str, Decision] = {}
    if settings.intake.series_per_study == "best":
        for name, (best, *others) in rankings.items():
            for other in others:
                sentence = f"series {best.candidate.name} of the study is better: {other.why}"
                decision = Decision(JobState.DECLINED, Reason.NOT_BEST, sentence, route=name)
                beaten[other.candidate.series_uid] = decision
    chosen = tuple(replace(s, outcome=beaten.get(s.candidate.series_uid, s.outcome)) for s in series)
    return SurveyedStudy(study_uid, chosen, rankings)


def _plain(decision: Decision) -> dict[str, Any]:
    row = asdict(decision)
    row["reason_code"] = row.pop("code")
    return row
