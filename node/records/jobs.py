"""Records of jobs: the evidence about a series, the decision, and the job with its state."""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from node.plain_text import sentence
from node.records.as_json import json_form
from node.records.results import Delivery, Result
from node.records.states import JobState, Reason


@dataclass(frozen=True)
class Evidence:
    """What tells, besides the headers, whether a series has arrived completely; times in seconds.

    quiet: since the last slice. waited: since the first slice of this revision. open: associations that carried the
    series and still stand. sender_open: other associations of the same sender that still stand. ended: since the last
    association that carried it ended, None if none has. broken: whether one of them was aborted or lost. expected: how
    many images there are, as `expected_from` says. forced: an operator released the series as it is. pause: the longest
    pause between two associations of the series. other_sender: slices were added to a decided series by another
    sender. corrected: how many of its objects came again for another patient. other_study: other images with the same
    Series Instance UID belong to another study.
    """

    quiet: float
    waited: float
    open: int = 0
    sender_open: int = 0
    ended: float | None = None
    broken: bool = False
    expected: int | None = None
    expected_from: str = ""
    forced: bool = False
    pause: float = 0.0
    other_sender: bool = False
    corrected: int = 0
    other_study: bool = False

    def findings(self, sender_matters: bool) -> tuple[str, ...]:
        """Return the codes of what a person must look at before a complete series goes on."""
        found = (
            (Reason.CORRECTED_PATIENT, self.corrected > 0),
            (Reason.MIXED_STUDY, self.other_study),
            (Reason.OTHER_SENDER, self.other_sender and sender_matters),
        )
        return tuple(code for code, holds in found if holds)


@dataclass(frozen=True)
class Receiving:
    """A job whose series is still arriving, with what the decision on completeness needs."""

    id: str
    study_uid: str
    series_uid: str
    instances: int
    reason: str
    evidence: Evidence
    state: JobState = JobState.RECEIVED


@dataclass(frozen=True)
class Refusal:
    """Something that belongs to no series: a broken object, an association without objects."""

    calling_ae: str
    host: str
    code: str
    reason: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", sentence(self.reason))


@dataclass(frozen=True)
class Decision:
    """The decision of completeness or routing about a job: its next state, and the reason if it stops there.

    destinations: names of peers; None as long as no route has been chosen. route: the name of the one chosen.
    model: folder of weights, empty = the settings'.
    """

    state: JobState
    code: str = ""
    reason: str = ""
    destinations: tuple[str, ...] | None = None
    priority: int = 0
    route: str = ""
    model: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", sentence(self.reason))


@dataclass(frozen=True)
class Job:
    """One revision of a series and its state. Times are UTC.

    instances: objects of the series up to this revision (for a refusal: how often it happened). stage_seconds: what the
    worker reported. finding: its sentence that no femur was found. created_at: when the first complete revision of
    the series was found so. duplicates: objects that came again. forced: an operator overrode completeness or the
    choice among series. removed_at: when its files were removed.
    """

    id: str
    state: JobState
    code: str
    reason: str
    study_uid: str | None
    series_uid: str | None
    revision: int
    modality: str
    description: str
    study_description: str
    body_part: str
    accession: str
    calling_ae: str
    called_ae: str
    host: str
    instances: int
    duplicates: int
    expected: int | None
    forced: bool
    route: str
    model: str
    received_at: datetime
    last_slice_at: datetime
    complete_at: datetime | None
    created_at: datetime | None
    queued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    removed_at: datetime | None
    attempts: int
    priority: int
    destinations: tuple[str, ...] | None
    worker: str
    stage: str
    lease_until: datetime | None
    stage_seconds: dict[str, float] = field(default_factory=dict)
    finding: str = ""
    results: tuple[Result, ...] = ()
    deliveries: tuple[Delivery, ...] = ()

    @property
    def created(self) -> datetime:
        """The time for result objects, to the second; the same for every attempt and every revision of a series."""
        return (self.created_at or self.received_at).replace(microsecond=0)

    @property
    def completed(self) -> datetime:
        """The time for result objects that replace those of an earlier revision, to the second; set once per job."""
        return (self.complete_at or self.received_at).replace(microsecond=0)

    def to_dict(self, data: Path) -> dict[str, Any]:
        """Return the JSON form used by `jobs --json`, `show --json` and the web page; data: the data folder."""
        row = json_form(self)
        row["reason_code"] = row.pop("code")
        row["stages"] = row.pop("stage_seconds")
        row["results"] = [result.to_dict(data) for result in self.results]
        row["outputs"] = [str(data / result.key) for result in self.results]
        row["deliveries"] = [delivery.to_dict() for delivery in self.deliveries]
        return row


@dataclass(frozen=True)
class Event:
    """One line of a job's history."""

    at: datetime
    state: str
    text: str

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return json_form(self)


def series_name(description: str, series_uid: str) -> str:
    """Return what a person calls a series: its description, or its UID if it has none."""
    return f'"{description}"' if description else series_uid
