"""Where a complete series goes: a pure decision from its job and the routes. The first route that matches decides."""

import re
from fnmatch import fnmatchcase

from node.ledger.records import Decision, Job
from node.settings import Route, Settings
from node.states import JobState, Reason

# Body Part Examined (PS3.16 annex L) without hips in view. What is not here may show a hip (PELVIS, LEG, EXTREMITY,
# ABDOMEN, WHOLEBODY, nothing at all), and then the segmenter has the last word.
BODY_PARTS = """
    ANKLE ARM BRAIN BREAST CALCANEUS CALF CAROTID CHEST CLAVICLE CSPINE EAR ELBOW EYE FACE FINGER FOOT FOREARM HAND HEAD
    HEADNECK HEART HUMERUS JAW KNEE LARYNX LUNG MANDIBLE MAXILLA NECK NOSE ORBIT RIB SCAPULA SHOULDER SINUS SKULL
    STERNUM TEETH THORAX THUMB TIBIA TIBIAFIBULA TOE TSPINE WRIST"""
ELSEWHERE = frozenset(BODY_PARTS.split())
HIP = re.compile(r"hip|hue?ft|hüft|pelv|becken|femur|femor|hanche|bassin|cadera|qct", re.IGNORECASE)


def route(job: Job, settings: Settings) -> Decision:
    """Decide on a complete series: QUEUED for the destinations, DECLINED or HELD, the latter two with the reason.

    Without routes every CT that looks like a hip is accepted for all peers. A route that states the body part or a
    description decides alone; one that does not still passes over what clearly is not a hip.
    """
    if not settings.routes:
        return _away(job) or _accept(settings, None)
    chosen = next((r for r in settings.routes if _matches(r, job)), None)
    if chosen is None:
        sentence = f"none of the routes ({', '.join(r.name for r in settings.routes)}) matches it"
        return Decision(JobState.DECLINED, Reason.NO_ROUTE, sentence)
    if chosen.action == "decline":
        return Decision(JobState.DECLINED, Reason.ROUTE_DECLINES, f"the route {chosen.name} declines it")
    if not (chosen.body_part or chosen.study_description or chosen.series_description):
        away = _away(job)
        if away:
            return away
    accepted = _accept(settings, chosen)
    if chosen.action == "hold":
        sentence = f"the route {chosen.name} holds it; `release` lets it go on"
        return Decision(JobState.HELD, Reason.ROUTE_HOLDS, sentence, accepted.destinations, accepted.priority)
    return accepted


def _accept(settings: Settings, chosen: Route | None) -> Decision:
    named = chosen.destinations if chosen else None
    destinations = settings.peer_names if named is None else named
    return Decision(JobState.QUEUED, destinations=destinations, priority=chosen.priority if chosen else 0)


def _matches(rule: Route, job: Job) -> bool:
    conditions = (
        (rule.calling_ae, job.calling_ae),
        (rule.body_part, job.body_part),
        (rule.study_description, job.study_description),
        (rule.series_description, job.description),
    )
    return all(not patterns or _any_match(patterns, value) for patterns, value in conditions)


def _any_match(patterns: tuple[str, ...], value: str) -> bool:
    return any(fnmatchcase(value.casefold(), pattern.casefold()) for pattern in patterns)


def _away(job: Job) -> Decision | None:
    """Decline what clearly shows no hip: the body part says so, and no description knows better."""
    body_part = re.sub(r"[^A-Z]", "", job.body_part.upper())
    if body_part not in ELSEWHERE or HIP.search(f"{job.study_description} {job.description}"):
        return None
    return Decision(JobState.DECLINED, Reason.NOT_A_HIP, f"its BodyPartExamined is {body_part}, which shows no hip")
