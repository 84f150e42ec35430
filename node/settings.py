"""The node's settings: a TOML file and `QCT_NODE_SECTION__KEY`, read once into a frozen, typed object."""

import re
import tomllib
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from node.errors import SettingsError

DEFAULT_FILE = "qct-node.toml"
SHORTEST_FEMUR_MM = 80.0  # from the top of the head: a large femur's trochanters reach as far


def valid_ae_title(value: str) -> str:
    """Return an AE title without its padding; 1 to 16 printable characters, no backslash (PS3.5 6.2)."""
    title = value.strip(" ")
    if not 1 <= len(title) <= 16:
        raise ValueError(f"an AE title has 1 to 16 characters, not {len(title)}")
    if not all(" " <= c <= "~" and c != "\\" for c in title):
        raise ValueError("an AE title holds printable ASCII without a backslash")
    return title


AETitle = Annotated[str, AfterValidator(valid_ae_title)]
Port = Annotated[int, Field(ge=1, le=65535)]
ListenPort = Annotated[int, Field(ge=0, le=65535)]
Patterns = tuple[str, ...]


class Section(BaseModel):
    """A part of the settings: frozen, and no key it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


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


class Peer(Section):
    """Somebody who may call us and whom we may call.

    results: what it is sent: segmentation, structured report, Secondary Capture; an archive may not take all of them.
    segmentation: the kind of SEG it is sent; every viewer shows "binary", "labelmap" is for who asks for it.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    ae_title: AETitle
    host: Annotated[str, Field(min_length=1)]
    port: Port
    maximum_associations: PositiveInt | None = None  # of this peer at one time; absent = as many as there are
    results: tuple[Literal["seg", "sr", "sc"], ...] = ("seg", "sr", "sc")
    segmentation: Literal["binary", "labelmap"] = "binary"

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of results it is sent, a label map by its own name."""
        named = {"seg": "labelmap"} if self.segmentation == "labelmap" else {}
        return frozenset(named.get(kind, kind) for kind in self.results)


class Route(Section):
    r"""Which series it is for and what happens to them; every stated condition must hold.

    Conditions are lists of shell patterns (`*hip*`, case does not matter) of which one must match.
    image_type: matched against the values joined by a backslash (`*\AXIAL*`). slice thickness: both ends included.
    model: folder of other weights than `[segmenter] model`. destinations: names of peers; absent = all peers.
    priority: the higher goes first.
    """

    name: Annotated[str, Field(min_length=1, max_length=64)]
    called_ae: Patterns = ()
    calling_ae: Patterns = ()
    modality: Patterns = ()
    body_part: Patterns = ()
    study_description: Patterns = ()
    series_description: Patterns = ()
    kernel: Patterns = ()
    image_type: Patterns = ()
    min_slice_thickness_mm: NonNegativeFloat | None = None
    max_slice_thickness_mm: PositiveFloat | None = None
    contrast: bool | None = None
    action: Literal["segment", "decline", "hold"] = "segment"
    model: str = ""
    destinations: tuple[str, ...] | None = None
    priority: Annotated[int, Field(ge=-100, le=100)] = 0

    @model_validator(mode="after")
    def _in_order(self) -> "Route":
        thin, thick = self.min_slice_thickness_mm, self.max_slice_thickness_mm
        if thin is not None and thick is not None and thin > thick:
            raise ValueError("min_slice_thickness_mm must not be above max_slice_thickness_mm")
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


class SettingsFile(TomlConfigSettingsSource):
    """The TOML file; relative folders in it (data, models) are meant relative to the file."""

    def _read_file(self, path: Path | Traversable) -> dict[str, Any]:
        values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        routes = values.get("routes")
        places = [(values.get("node"), "data")]
        places += [(values.get("segmenter"), key) for key in ("model", "calibration")]
        places += [(route, "model") for route in routes] if isinstance(routes, list) else []
        for section, key in places:
            if isinstance(section, dict) and isinstance(section.get(key), str) and (section[key] or key == "data"):
                section[key] = str(Path(str(path)).parent.absolute() / Path(section[key]).expanduser())
        return values


class Settings(BaseSettings):
    """Everything an administrator can set. Relative paths in a file are relative to that file."""

    model_config = SettingsConfigDict(
        env_prefix="QCT_NODE_", env_nested_delimiter="__", frozen=True, extra="forbid", validate_default=True
    )

    node: Node = Node()
    intake: Intake = Intake()
    peers: tuple[Peer, ...] = ()
    routes: tuple[Route, ...] = ()
    jobs: Jobs = Jobs()
    delivery: Delivery = Delivery()
    retention: Retention = Retention()
    segmenter: Segmenter = Segmenter()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the command line win over the environment, and both over the file."""
        return init_settings, env_settings, SettingsFile(settings_cls)

    @field_validator("peers", "routes")
    @classmethod
    def _own_names(cls, sections: tuple[Peer, ...] | tuple[Route, ...]) -> tuple[Peer, ...] | tuple[Route, ...]:
        names = [section.name for section in sections]
        doubled = sorted({n for n in names if names.count(n) > 1})
        if doubled:
            raise ValueError(f"each needs a name of its own, but several are called {', '.join(doubled)}")
        return sections

    @field_validator("peers")
    @classmethod
    def _one_knows_the_count(cls, peers: tuple[Peer, ...], info: ValidationInfo) -> tuple[Peer, ...]:
        asked = info.data["intake"].expect_peer if "intake" in info.data else ""
        if asked and asked not in [peer.name for peer in peers]:
            there = ", ".join(peer.name for peer in peers) or "none"
            raise ValueError(f"intake.expect_peer is {asked}, but the peers are: {there}")
        return peers

    @field_validator("routes")
    @classmethod
    def _known_peers(cls, routes: tuple[Route, ...], info: ValidationInfo) -> tuple[Route, ...]:
        if "peers" not in info.data:  # the peers have faults of their own
            return routes
        known = [peer.name for peer in info.data["peers"]]
        for route in routes:
            unknown = [d for d in route.destinations or () if d not in known]
            if unknown:
                there = ", ".join(known) or "none"
                raise ValueError(f"{route.name} sends to {', '.join(unknown)}, but the peers are: {there}")
        return routes

    @property
    def accepts_unknown_peers(self) -> bool:
        """Whether everybody may send: closed is the default as soon as peers are configured."""
        chosen = self.intake.accept_unknown_peers
        return not self.peers if chosen is None else chosen

    @property
    def data(self) -> Path:
        """The data folder, absolute."""
        return self.node.data.expanduser().absolute()

    @property
    def database_url(self) -> str:
        """The ledger's SQLAlchemy URL; by default an SQLite file under the data folder."""
        return self.node.database_url or f"sqlite:///{self.data / 'ledger.sqlite3'}"

    @property
    def peer_names(self) -> tuple[str, ...]:
        """The names of all peers, in the order of the settings."""
        return tuple(p.name for p in self.peers)

    @property
    def wishes(self) -> dict[str, frozenset[str]]:
        """The kinds of results that each peer is sent."""
        return {p.name: p.kinds for p in self.peers}

    def peer(self, name: str) -> Peer | None:
        """Return the peer of this name, or None."""
        return next((p for p in self.peers if p.name == name), None)


def load_settings(path: Path | str | None = None, **overrides: dict[str, Any]) -> Settings:
    """Read the settings; overrides are sections, as in `load_settings(path, node={"dicom_port": 0})`.

    Without a path, `qct-node.toml` in the current folder is read if it is there.
    Raises SettingsError with all faults at once.
    """
    file = _settings_file(path)
    # The file is a trait of the class in pydantic-settings; a class of our own keeps two loads apart.
    traits = {"model_config": SettingsConfigDict(toml_file=file), "__module__": __name__}
    try:
        settings = type("Settings", (Settings,), traits)(**overrides)
    except ValidationError as error:
        raise SettingsError([_fault(dict(e)) for e in error.errors()]) from None
    except (OSError, ValueError) as error:  # ValueError: TOML, or JSON in the environment
        raise SettingsError([f"{file or 'environment'}: {error}"]) from None
    assert isinstance(settings, Settings)
    return settings


def _settings_file(path: Path | str | None) -> Path | None:
    if path is None:
        default = Path(DEFAULT_FILE)
        return default if default.is_file() else None
    if not Path(path).is_file():
        raise SettingsError([f"{path}: there is no such settings file"])
    return Path(path)


def _fault(error: dict[str, Any]) -> str:
    """Return `key = value: rule` for one of pydantic's errors, without passwords in URLs."""
    key = ".".join(str(part) for part in error["loc"])
    rule = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        rule = "there is no such setting"
    if not key:
        return rule
    if error["type"] == "missing":
        return f"{key}: missing"
    if isinstance(error["input"], dict | list | tuple):
        return f"{key}: {rule}"  # the rule names what it found in there
    value = re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", repr(error["input"]))
    return f"{key} = {value}: {rule}"
