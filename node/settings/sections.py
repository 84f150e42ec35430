"""The sections of the settings that stand once in the file."""

import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from node.settings.types import AETitle, ListenPort, Patterns, Section

LEAVE_EMPTY = "leave it empty for the SQLite file under the data folder"
SHORTEST_FEMUR_MM = 80.0  # from the top of the head: a large femur's trochanters reach as far


class Node(Section):
    """Who the node is, where it listens and where it keeps its data."""

    ae_title: AETitle = "QCTNODE"
    """AE title of the node, as senders call it and as it calls itself: 1 to 16 printable ASCII characters."""
    further_ae_titles: tuple[AETitle, ...] = ()
    """Other AE titles to which the node answers. It also answers to those that a route names in `called_ae`."""
    dicom_host: str = "127.0.0.1"
    """Address on which DICOM associations are accepted; `0.0.0.0` for all addresses of the machine, `::` for those of
    IPv6, too."""
    dicom_port: ListenPort = 11112
    """Port for DICOM; 0 chooses a free one, which `up` prints."""
    http_host: str = "127.0.0.1"
    """Address of the web page. The page has no sign-in: open it to a protected network only."""
    http_port: ListenPort = 8080
    """Port of the web page; 0 chooses a free one, which `up` prints."""
    http_names: Patterns = ()
    """More host names by which browsers reach the page, as of a proxy; it answers to no other names than its own."""
    data: Path = Path("qct-data")
    """Folder for received objects, results, the ledger and logs. A relative path starts at the settings file."""
    database_url: str = ""
    """SQLAlchemy URL of the ledger, an SQLite file (`sqlite:///PATH`); empty: `ledger.sqlite3` under `data`."""
    broker_url: Annotated[str, Field(pattern=r"^(embedded|[a-z+]+://.*)$")] = "embedded"
    """Celery broker: `embedded` (files under `data`), or a Redis server, `redis://...`, for several segmenters."""
    storage_url: str = ""
    """Must be empty: objects are kept under `data`."""

    @field_validator("database_url")
    @classmethod
    def _only_sqlite(cls, url: str) -> str:
        if url.startswith("postgresql"):
            raise ValueError(f"PostgreSQL is not supported yet; {LEAVE_EMPTY}")
        if url and not re.match(r"sqlite(\+pysqlite)?:///.", url):
            raise ValueError(f"expected sqlite:/// and the path of a file; {LEAVE_EMPTY}")
        return url

    @field_validator("broker_url")
    @classmethod
    def _has_an_address(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            port = -1
        scheme = url.partition(":")[0]
        if scheme in {"redis", "rediss"} and (port == -1 or not parts.hostname or parts.fragment):
            raise ValueError("expected redis://[:PASSWORD@]HOST:PORT/NUMBER, with / # ? of a password as %2F %23 %3F")
        return url

    @field_validator("storage_url")
    @classmethod
    def _only_here(cls, url: str) -> str:
        if url:
            raise ValueError("objects are kept under `data` only, so far; leave it empty")
        return url


class Intake(Section):
    """What the node accepts, and when a series counts as complete."""

    quiet_seconds: PositiveFloat = 10
    """A series counts as quiet when no slice has come for this long."""
    give_up_seconds: PositiveFloat = 600
    """A series that is not complete this long after its first slice is held. At least `quiet_seconds`."""
    expect: tuple[Literal["series-count", "images-in-acquisition"], ...] = ("series-count", "images-in-acquisition")
    """Announced numbers of images that are believed: Number of Series Related Instances, Images in Acquisition."""
    expect_peer: str = ""
    """Name of the peer that is asked by C-FIND how many images a series has; empty: none is asked."""
    series_per_study: Literal["best", "all"] = "best"
    """Segment the best series of a study, or every one that a route accepts."""
    other_sender: Literal["hold", "accept"] = "hold"
    """What happens when another sender adds images to a series that has been decided: it is held, or segmented anew."""
    accept_unknown_peers: bool | None = None
    """Accept senders that are not among the peers. Not set: only while no peers are configured."""
    warn_free_mb: NonNegativeInt = 5000
    """The node warns when less than this is free under `data`, in 10^6 bytes; 0: never."""
    min_free_mb: NonNegativeInt = 500
    """Below this C-STORE is answered 0xA700 (out of resources), in 10^6 bytes; 0: never."""
    warn_free_inodes: NonNegativeInt = 100_000
    """The node warns when fewer inodes are free; 0: never."""
    min_free_inodes: NonNegativeInt = 10_000
    """With fewer free inodes C-STORE is answered 0xA700; 0: never."""
    receivers: Annotated[int, Field(ge=0, le=64)] = 0
    """Receiver processes that share the DICOM port; 0: one per core, at most 4."""
    maximum_associations: Annotated[int, Field(ge=1, le=1000)] = 64
    """Associations at one time, of all senders together; further ones are rejected for the time being."""
    maximum_per_address: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Associations at one time of one address that is no peer's; not set: half of `maximum_associations`, or 4.
    Where there are peers, such senders also leave a quarter of `maximum_associations` to them."""
    maximum_pdu_size: Annotated[int, Field(ge=16384, le=4_194_304)] = 262_144
    """Longest PDU the node accepts, in bytes; senders are told."""
    maximum_object_mb: PositiveInt = 4000
    """Largest object the node accepts, in 10^6 bytes."""
    transfer_syntax: Literal["uncompressed", "lossless", "sender"] = "uncompressed"
    """Which of a sender's transfer syntaxes is chosen. `uncompressed`: an uncompressed one, else a lossless, else a
    lossy one; `lossless`: lossless compression first, for a slow network; `sender`: the one the sender names first."""
    network_timeout_seconds: PositiveFloat = 60
    """An association is aborted after this long without a byte from the sender."""
    association_seconds: PositiveFloat = 14_400
    """An association is aborted when it has lasted this long in all."""

    @model_validator(mode="after")
    def _in_order(self) -> "Intake":
        if self.give_up_seconds < self.quiet_seconds:
            raise ValueError("give_up_seconds must be at least quiet_seconds")
        return self


class Jobs(Section):
    """How long a worker may hold a job, and how often a job is tried."""

    max_attempts: PositiveInt = 3
    """Attempts to segment a series when its worker dies or the fault may pass; after that the job is failed."""
    lease_seconds: PositiveFloat = 30
    """A worker that has not reported for this long counts as dead. At least twice `heartbeat_seconds`."""
    heartbeat_seconds: PositiveFloat = 5
    """How often workers and the other processes report."""
    redispatch_seconds: PositiveFloat = 15
    """A queued job that no worker has claimed for this long is announced again."""
    soft_time_limit: PositiveFloat = 840
    """Seconds until a segmentation is asked to stop. Below `hard_time_limit`."""
    hard_time_limit: PositiveFloat = 900
    """Seconds until the process of a segmentation is killed."""

    @model_validator(mode="after")
    def _in_order(self) -> "Jobs":
        if self.heartbeat_seconds * 2 > self.lease_seconds:
            raise ValueError("lease_seconds must be at least twice heartbeat_seconds")
        if self.soft_time_limit >= self.hard_time_limit:
            raise ValueError("soft_time_limit must be below hard_time_limit")
        return self


class Delivery(Section):
    """How results are sent to peers."""

    backoff_seconds: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (5, 15, 60, 300, 900)
    """Pauses between attempts; the last one repeats until `max_attempts`."""
    max_attempts: PositiveInt = 300
    """Attempts to send one result to one peer (about three days with the default pauses)."""
    timeout_seconds: PositiveFloat = 30
    """How long the node waits for a peer: to connect, for each step, for each answer (longer for a peer seen slow)."""
    lease_seconds: PositiveFloat = 120
    """A delivery whose worker has not reported for this long may be taken by another worker."""


class Retention(Section):
    """When the files of a study are removed. What is pending, held or failed always stays."""

    delivered_days: NonNegativeFloat = 30
    """Days after the last destination received the last result; 0: never."""
    declined_days: NonNegativeFloat = 0
    """Days after a series was declined; 0: never."""


class Segmenter(Section):
    """The model, where it runs, and the calibration."""

    model: str = ""
    """Folder of weights; empty: those shipped with the package. A relative path starts at the settings file."""
    device: str = "auto"
    """`auto` (a GPU if there is one), `cpu` or `cuda`."""
    calibration: str = ""
    """File of calibration phantoms and certificates (docs/reference/calibration.md); empty: HU only, no densities."""
    distal_mm: NonNegativeFloat = 0
    """Length kept of each femur from the top of its head along the shaft, in mm; 0: as far as the scan shows it."""

    @field_validator("distal_mm")
    @classmethod
    def _below_the_trochanters(cls, value: float) -> float:
        if 0 < value < SHORTEST_FEMUR_MM:
            raise ValueError(
                f"must be 0 (follow the scan) or at least {SHORTEST_FEMUR_MM:g}: less cuts the trochanters"
            )
        return value
