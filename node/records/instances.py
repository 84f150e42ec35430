"""Records of received objects: the header, the association, and the outcome."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

IDENTITY = ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "StudyDate")
"""The attributes that all images of a series must share besides its study."""


@dataclass(frozen=True)
class Header:
    """What the node reads from a received data set; an absent attribute is empty or None.

    position: Image Position (Patient), LPS mm. orientation: the six cosines. spacing: Pixel Spacing, (row, column) mm.
    rescale: whether Rescale Slope and Intercept are there. thickness: Slice Thickness, mm. contrast: whether
    contrast medium was given. images_in_acquisition, series_instances: how many images the sender says there are.
    identity: whose image it is, a value for each of IDENTITY, or none where nobody has read it. The ledger keeps a
    digest of each with a key of its own instead, so a stored header has no patient data beyond the accession number.
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
    identity: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Association:
    """One association with a sender. receiver: the name of the process that accepted it."""

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
    LOST = "lost"  # the connection broke, or the receiver died


@dataclass(frozen=True)
class Arrival:
    """One received object whose file is durably on disk. key: of the file in the store."""

    header: Header
    transfer_syntax: str
    key: str
    sha256: str
    size: int
    association: Association


class Outcome(StrEnum):
    """What became of a received object in the ledger."""

    NEW = "new"
    DUPLICATE = "duplicate"  # the same bytes are here already
    VARIANT = "variant"  # other bytes are here under this SOP Instance UID: both are kept, the first is used
