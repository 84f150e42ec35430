"""Routing of a complete series: a pure decision from its candidate and the routes; the first match decides."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from node.decide.candidate import Candidate
from node.records.jobs import Decision
from node.records.states import JobState, Reason
from node.settings.routing import Route
from node.settings.settings import Settings
from node.settings.types import any_match

# Body Part Examined (PS3.16 annex L) without hips in view. What is not here may show a hip (PELVIS, LEG, EXTREMITY,
# ABDOMEN, WHOLEBODY, nothing at all), and then the segmenter decides.
BODY_PARTS = """
    ANKLE ARM BRAIN BREAST CALCANEUS CALF CAROTID CHEST CLAVICLE CSPINE EAR ELBOW EYE FACE FINGER FOOT FOREARM HAND HEAD
    HEADNECK HEART HUMERUS JAW KNEE LARYNX LUNG MANDIBLE MAXILLA NECK NOSE ORBIT RIB SCAPULA SHOULDER SINUS SKULL
    STERNUM TEETH THORAX THUMB TIBIA TIBIAFIBULA TOE TSPINE WRIST"""
ELSEWHERE = frozenset(BODY_PARTS.split())
HIP = re.compile(r"hip|hue?ft|hüft|pelv|becken|femur|femor|hanche|bassin|cadera|qct", re.IGNORECASE)
THICKNESS_TOLERANCE_MM = 0.005  # a header may say 0.9999 for 1


@dataclass(frozen=True)
class Condition:
    """One condition of a route: the key in the settings, the wanted value, the found one, and whether it holds."""

    key: str
    wanted: str
    found: str
    holds: bool


@dataclass(frozen=True)
class Trial:
    """A route that was tried. matches: every condition holds. decides: it is the first of those that match."""

    route: str
    conditions: tuple[Condition, ...]
    matches: bool
    decides: bool


def route(candidate: Candidate, settings: Settings) -> Decision:
    """Decide on a complete series: QUEUED for the destinations, DECLINED or HELD, the latter two with the reason.

    Without routes every CT that looks like a hip is accepted for all peers. A route that states the body part or a
    description decides alone; one that does not, declines a series that clearly shows no hip.
    """
    if not settings.routes:
        return _away(candidate, None) or _accept(settings, None)
    chosen = next((r for r in settings.routes if all(c.holds for c in conditions(r, candidate))), None)
    if chosen is None:
        sentence = f"none of the routes ({', '.join(r.name for r in settings.routes)}) matches it"
        return Decision(JobState.DECLINED, Reason.NO_ROUTE, sentence)
    if chosen.action == "decline":
        sentence = f"the route {chosen.name} declines it"
        return Decision(JobState.DECLINED, Reason.ROUTE_DECLINES, sentence, route=chosen.name)
    if not (chosen.body_part or chosen.study_description or chosen.series_description):
        away = _away(candidate, chosen)
        if away:
            return away
    if chosen.action == "hold":
        return _accept(settings, chosen, JobState.HELD)
    return _accept(settings, chosen)


def explain(candidate: Candidate, settings: Settings) -> list[Trial]:
    """Return every route in order, with its conditions and what was found; those after the deciding one, too."""
    trials: list[Trial] = []
    for rule in settings.routes:
        found = tuple(conditions(rule, candidate))
        matches = all(condition.holds for condition in found)
        trials.append(Trial(rule.name, found, matches, matches and not any(trial.decides for trial in trials)))
    return trials


def conditions(rule: Route, candidate: Candidate) -> Iterator[Condition]:
    """Yield the conditions a route states, in the order of the settings; a route without any is for every series."""
    texts = (
        ("called_ae", rule.called_ae, candidate.called_ae),
        ("calling_ae", rule.calling_ae, candidate.calling_ae),
        ("modality", rule.modality, candidate.modality),
        ("body_part", rule.body_part, candidate.body_part),
        ("study_description", rule.study_description, candidate.study_description),
        ("series_description", rule.series_description, candidate.series_description),
        ("kernel", rule.kernel, candidate.kernel),
        ("image_type", rule.image_type, "\\".join(candidate.image_type)),
    )
    for key, patterns, value in texts:
        if patterns:
            yield Condition(key, " or ".join(patterns), value, any_match(patterns, value))
    thickness = candidate.thickness_mm
    shown = "" if thickness is None else f"{thickness:g}"
    if rule.min_slice_thickness_mm is not None:
        thick = thickness is not None and thickness >= rule.min_slice_thickness_mm - THICKNESS_TOLERANCE_MM
        yield Condition("min_slice_thickness_mm", f"{rule.min_slice_thickness_mm:g}", shown, thick)
    if rule.max_slice_thickness_mm is not None:
        thin = thickness is not None and thickness <= rule.max_slice_thickness_mm + THICKNESS_TOLERANCE_MM
        yield Condition("max_slice_thickness_mm", f"{rule.max_slice_thickness_mm:g}", shown, thin)
    if rule.contrast is not None:
        wanted, found = (str(value).lower() for value in (rule.contrast, candidate.contrast))
        yield Condition("contrast", wanted, found, rule.contrast == candidate.contrast)


def _accept(settings: Settings, chosen: Route | None, state: JobState = JobState.QUEUED) -> Decision:
    if chosen is None:
        return Decision(state, destinations=settings.peer_names)
    code = reason = ""
    if state is JobState.HELD:
        code, reason = Reason.ROUTE_HOLDS, f"the route {chosen.name} holds it; `release` lets it go on"
    destinations = settings.peer_names if chosen.destinations is None else chosen.destinations
    return Decision(state, code, reason, destinations, chosen.priority, chosen.name, chosen.model)


def _away(candidate: Candidate, chosen: Route | None) -> Decision | None:
    """Decline a series that shows no hip by its body part, unless a description says otherwise."""
    body_part = re.sub(r"[^A-Z]", "", candidate.body_part.upper())
    if body_part not in ELSEWHERE or HIP.search(f"{candidate.study_description} {candidate.series_description}"):
        return None
    sentence = f"its BodyPartExamined is {body_part}, which shows no hip"
    return Decision(JobState.DECLINED, Reason.NOT_A_HIP, sentence, route=chosen.name if chosen else "")
