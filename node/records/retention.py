"""What retention reads of the ledger."""

from dataclasses import dataclass
from datetime import datetime

from node.records.states import DeliveryState, JobState


@dataclass(frozen=True)
class Sending:
    """One result on its way to one peer; at: when it got there."""

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
    sent: tuple[Sending, ...] = ()


@dataclass(frozen=True)
class KeptSeries:
    """A series whose files are here. revisions: the oldest first, at least one.

    standing: whether an association that carried slices of it still stands.
    """

    series_id: int
    revisions: tuple[KeptRevision, ...]
    standing: bool = False
