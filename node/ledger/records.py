"""What goes into the ledger and comes out of it: frozen records, no SQL."""

import hashlib
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from node.states import DeliveryState, JobState


@dataclass(frozen=True)
class Header:
    """What the node reads of an arriving data set; an absent attribute is empty or None.

    position: Image Position (Patient), LPS mm. orientation: the six cosines. spacing: Pixel Spacing, (row, column) mm.
    rescale: whether Rescale Slope and Intercept are there. thickness: Slice Thickness, mm. contrast: whether a
    Contrast/Bolus Agent is named. images_in_acquisition, series_instances: how many images the sender says there are.
    No patient data beyond the accession number.
    """

    study_uid: str
    series_uid: str
    sop_uid: str
    sop_class_uid: str
    modality: str = ""
    accession: str = ""
    study_description: str = ""
    series_description: str = ""
    body_part: str = ""
    image_type: tuple[str, ...] = ()
    frame_of_reference: str = ""
    rows: int | None = None
    columns: int | None = None
    frames: int = 1
    position: tuple[float, float, float] | None = None
    orientation: tuple[float, ...] | None = None
    spacing: tuple[float, float] | None = None
    rescale: bool = False
    thickness: float | None = None
    kernel: str = ""
    contrast: bool = False
    acquisition: int | None = None
    images_in_acquisition: int | None = None
    series_instances: int | None = None


@dataclass(frozen=True)
class Association:
    """One association with a sender. receiver: the process that holds it, by the name it reports itself under."""

    id: str
    receiver: str
    calling_ae: str
    called_ae: str
    host: str
    started_at: datetime


class Ending(StrEnum):
    """How an association ended."""

    RELEASED = "released"
    ABORTED = "aborted"  # by either side
    LOST = "lost"  # the connection broke, or our process died


@dataclass(frozen=True)
class Arrival:
    """One object whose bytes are safely on disk."""

    header: Header
    transfer_syntax: str
    path: Path
    sha256: str
    size: int
    association: Association


class Outcome(StrEnum):
    """What `Ledger.record_instances` found."""

    NEW = "new"
    DUPLICATE = "duplicate"  # the same bytes are here already
    VARIANT = "variant"  # other bytes are here under this SOP Instance UID: both are kept, the first is used


@dataclass(frozen=True)
class Evidence:
    """What tells whether a series has arrived, beside its headers; times in seconds.

    quiet: since the last slice. waited: since the first slice of this revision. open: associations that carried the
    series and still stand. sender_open: other associations of the same sender that still stand. ended: since the last
    association that carried it ended, None if none has. broken: whether one of them was aborted or lost. expected: how
    many images there are, by somebody who should know, with `expected_from`. forced: a person said it is enough.
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


@dataclass(frozen=True)
class Receiving:
    """A job whose series still arrives, as much of it as the decision whether it is whole needs; cheap to ask for."""

    id: str
    study_uid: str
    series_uid: str
    instances: int
    reason: str
    evidence: Evidence
    state: JobState = JobState.RECEIVED


@dataclass(frozen=True)
class Refusal:
    """Something that arrived and belongs to no series: a broken object, an association that carried nothing."""

    calling_ae: str
    host: str
    code: str
    reason: str


@dataclass(frozen=True)
class Decision:
    """What completeness or routing says about a job: its next state and, if that is not good news, why.

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


@dataclass(frozen=True)
class Result:
    """A file a worker made. With SOP UIDs it is a DICOM object and is delivered; without, it only stays here."""

    kind: str
    path: Path
    sha256: str
    size: int
    sop_class_uid: str = ""
    sop_uid: str = ""

    def fault(self) -> str | None:
        """Tell what is wrong with the file: what leaves must be what the worker recorded."""
        try:
            with self.path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            return f"the result {self.path} cannot be read ({error.strerror}): segment the series again"
        if digest != self.sha256:
            return f"the result {self.path} was changed after it was made (SHA-256 differs): segment the series again"
        return None


@dataclass(frozen=True)
class Delivery:
    """One result on its way to one peer (a row of the outbox)."""

    id: int
    job_id: str
    peer: str
    state: DeliveryState
    result: Result
    attempts: int
    reason: str
    next_at: datetime
    delivered_at: datetime | None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        row = _row(self)
        result = row.pop("result")
        row.pop("job_id")
        return row | {"kind": result["kind"], "sop_uid": result["sop_uid"]}


@dataclass(frozen=True)
class Job:
    """One series revision on its way, as the ledger knows it now. Times are UTC.

    instances: objects of the series up to this revision (for a refusal: how often it happened). stage_seconds: what the
    worker reported. finding: its sentence that there was nothing to outline. created_at: when the first complete
    revision of the series was found so. duplicates: objects that came again. forced: a person overrode completeness or
    the choice among series. removed_at: when its files went.
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

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form used by `jobs --json`, `show --json` and the web page."""
        row = _row(self)
        row["reason_code"] = row.pop("code")
        row["stages"] = row.pop("stage_seconds")
        row["outputs"] = [str(result.path) for result in self.results]
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
        return _row(self)


@dataclass(frozen=True)
class Process:
    """A running part of the node, as it last reported itself; kind: scp, supervisor, worker-segment, ..."""

    name: str
    kind: str
    host: str
    pid: int
    started_at: datetime
    last_seen: datetime

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return _row(self)


def series_name(description: str, series_uid: str) -> str:
    """Return what a person calls a series: its description, or its UID if it has none."""
    return f'"{description}"' if description else series_uid


def _row(record: Any) -> dict[str, Any]:
    return {key: _plain(value) for key, value in asdict(record).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return str(value) if isinstance(value, Path) else value
