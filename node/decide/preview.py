"""What the node would do with the series in a folder: the decisions of intake, routing and choice, without a node."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import inf
from typing import Any

from node.decide.candidate import Candidate
from node.decide.completeness import judge
from node.decide.ranking import Placed, rank
from node.decide.routing import Trial, explain, route
from node.records.instances import Header
from node.records.jobs import Decision, Evidence
from node.records.states import JobState, Reason
from node.settings.settings import Settings

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
