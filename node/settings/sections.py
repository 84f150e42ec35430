"""The sections of the settings that stand once in the file."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from node.settings.types import AETitle, ListenPort, Section

SHORTEST_FEMUR_MM = 80.0  # from the top of the head: a large femur's trochanters reach as far


class Node(Section):
    """Who we are and where we listen (port 0: a free one is chosen and printed).

    database_url: empty = an SQLite file under `data`. storage_url: empty = files under `data`.
    """

    ae_title: AETitle = "QCTNODE"
    dicom_host: str = "127.0.0.1"
    dicom_port: ListenPort = 11112
    http_host: str = "127.0.0.1"
    http_port: ListenPort = 8080
    data: Path = Path("qct-data")
    database_url: Annotated[str, Field(pattern=r"^(|(sqlite|postgresql)[a-z0-9+]*://.*)$")] = ""
    broker_url: Annotated[str, Field(pattern=r"^(embedded|[a-z+]+://.*)$")] = "embedded"
    storage_url: str = ""

    @field_validator("storage_url")
    @classmethod
    def _only_here(cls, url: str) -> str:
        if url:
            raise ValueError("objects are kept under `data` only, so far; leave it empty")
        return url


class Intake(Section):
    """What we take, and when a series counts as having arrived."""

    quiet_seconds: PositiveFloat = 10
    give_up_seconds: PositiveFloat = 600  # a series that is not whole by then is held
    expect: tuple[Literal["series-count", "images-in-acquisition"], ...] = ("series-count", "images-in-acquisition")
    expect_peer: str = ""  # name of the peer that is asked by C-FIND how many images a series has
    series_per_study: Literal["best", "all"] = "best"
    accept_unknown_peers: bool | None = None  # unset: everybody as long as no peers are configured
    warn_free_mb: NonNegativeInt = 5000  # below it the node warns
    min_free_mb: NonNegativeInt = 500  # below it C-STORE is answered "out of resources"
    warn_free_inodes: NonNegativeInt = 100_000
    min_free_inodes: NonNegativeInt = 10_000
    receivers: Annotated[int, Field(ge=0, le=64)] = 0  # processes that share the port; 0 = one per core, at most 4
    maximum_associations: Annotated[int, Field(ge=1, le=1000)] = 64
    maximum_pdu_size: Annotated[int, Field(ge=16384, le=4_194_304)] = 262_144
    maximum_object_mb: PositiveInt = 4000
    network_timeout_seconds: PositiveFloat = 60  # of silence within an association
    association_seconds: PositiveFloat = 14_400  # an association may last so long in all

    @model_validator(mode="after")
    def _in_order(self) -> "Intake":
        if self.give_up_seconds < self.quiet_seconds:
            raise ValueError("give_up_seconds must be at least quiet_seconds")
        return self


class Jobs(Section):
    """How a worker holds a job and when it is taken for dead."""

    max_attempts: PositiveInt = 3
    lease_seconds: PositiveFloat = 30
    heartbeat_seconds: PositiveFloat = 5
    redispatch_seconds: PositiveFloat = 15  # a queued job nobody claimed is announced again
    soft_time_limit: PositiveFloat = 840  # seconds a segmentation may take before it is asked to stop
    hard_time_limit: PositiveFloat = 900  # and before its process is killed

    @model_validator(mode="after")
    def _in_order(self) -> "Jobs":
        if self.heartbeat_seconds * 2 > self.lease_seconds:
            raise ValueError("lease_seconds must be at least twice heartbeat_seconds")
        if self.soft_time_limit >= self.hard_time_limit:
            raise ValueError("soft_time_limit must be below hard_time_limit")
        return self


class Delivery(Section):
    """How results are sent; the last backoff repeats until `max_attempts` (about three days by default)."""

    backoff_seconds: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (5, 15, 60, 300, 900)
    max_attempts: PositiveInt = 300
    timeout_seconds: PositiveFloat = 30
    lease_seconds: PositiveFloat = 120


class Retention(Section):
    """When the files of a study may go; 0 = never. What is pending, held or failed always stays."""

    delivered_days: NonNegativeFloat = 30  # after every destination has every result
    declined_days: NonNegativeFloat = 0


class Segmenter(Section):
    """The model and where it runs; an empty model means the weights shipped with the package.

    distal_mm: length kept of each femur from the top of its head along the shaft; 0 follows the scan.
    calibration: file of calibration phantoms and certificates that turns HU into density; empty = HU only.
    """

    model: str = ""
    device: str = "auto"
    calibration: str = ""
    distal_mm: NonNegativeFloat = 0

    @field_validator("distal_mm")
    @classmethod
    def _below_the_trochanters(cls, value: float) -> float:
        if 0 < value < SHORTEST_FEMUR_MM:
            raise ValueError(
                f"must be 0 (follow the scan) or at least {SHORTEST_FEMUR_MM:g}: less cuts the trochanters"
            )
        return value
