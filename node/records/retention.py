"""What retention needs to know of a series."""

from dataclasses import dataclass
from datetime import datetime

from node.records.states import DeliveryState, JobState


@dataclass(frozen=True)
class DeliveryStatus:
    """The delivery of one result to one peer. at: when it was delivered."""

    peer: str
    state: DeliveryState
    at: datetime | None = None


@dataclass(frozen=True)
class KeptRevision:
    """The job of one revision of a series; destinations: the peers its results are for."""

    job_id: str
    state: JobState
    code: str = ""
    finished_at: datetime | None = None
    destinations: tuple[str, ...] = ()
    sent: tuple[DeliveryStatus, ...] = ()


@dataclass(frozen=True)
class KeptSeries:
    """A series whose files are on disk. revisions: at least one, the oldest first.

    receiving: whether an association that carried slices of it is open.
    """

    series_id: int
    revisions: tuple[KeptRevision, ...]
    receiving: bool = False
