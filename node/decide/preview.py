"""Preview of what the node would do with the series in a folder: completeness, routing and the choice of the best."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import inf
from typing import Any

from node.decide.candidate import Candidate
from node.decide.completeness import judge
from node.decide.ranking import Ranked, passed_over, rank
from node.decide.routing import Trial, explain, route
from node.records.instances import Header
from node.records.jobs import Decision, Evidence
from node.records.states import JobState
from node.settings.settings import Settings

LONG_AGO = Evidence(quiet=inf, waited=inf, ended=inf)
"""The evidence of a sender that has released: what is missing will not come."""

Found = dict[tuple[str, str], list[Header]]


@dataclass(frozen=True)
class SeriesPreview:
    """One series. whole: the decision on completeness. routed: that of routing. outcome: the one that would hold."""

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
class StudyPreview:
    """The series of one study and, for each route that accepted several of them, their ranking."""

    study_uid: str
    series: tuple[SeriesPreview, ...]
    rankings: dict[str, list[Ranked]]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        rankings = [
            {
                "route": name,
                "series": [
                    {"series_uid": p.candidate.series_uid, "description": p.candidate.series_description, "why": p.why}
                    for p in ranked
                ],
            }
            for name, ranked in self.rankings.items()
        ]
        return {
            "study_uid": self.study_uid,
            "series": [series.to_dict() for series in self.series],
            "rankings": rankings,
        }


def preview(found: Found, settings: Settings, called_ae: str, calling_ae: str) -> list[StudyPreview]:
    """Decide about every series as if `calling_ae` had sent it to `called_ae` and had then gone."""
    studies: dict[str, list[SeriesPreview]] = defaultdict(list)
    for (study_uid, _), headers in found.items():
        candidate = replace(Candidate.read(headers), called_ae=called_ae, calling_ae=calling_ae)
        whole = judge(headers, LONG_AGO, settings.intake)
        routed = route(candidate, settings)
        outcome = routed if whole.state is JobState.COMPLETE else whole
        trials = tuple(explain(candidate, settings))
        studies[study_uid].append(SeriesPreview(candidate, len(headers), whole, routed, trials, outcome))
    return [_choose(study_uid, series, settings) for study_uid, series in studies.items()]


def _choose(study_uid: str, series: Sequence[SeriesPreview], settings: Settings) -> StudyPreview:
    """Rank the series that the same route accepts, and queue only the best, unless the settings want all."""
    rivals: dict[str, list[Candidate]] = defaultdict(list)
    for each in series:
        if each.outcome.state is JobState.QUEUED:
            rivals[each.outcome.route].append(each.candidate)
    rankings = {name: rank(accepted) for name, accepted in rivals.items() if len(accepted) > 1}
    declined: dict[str, Decision] = {}
    if settings.intake.series_per_study == "best":
        for name, ranked in rankings.items():
            declined |= passed_over(ranked, name)
    chosen = tuple(replace(s, outcome=declined.get(s.candidate.series_uid, s.outcome)) for s in series)
    return StudyPreview(study_uid, chosen, rankings)


def _plain(decision: Decision) -> dict[str, Any]:
    row = asdict(decision)
    row["reason_code"] = row.pop("code")
    return row
