"""The node's settings: a TOML file and `QCT_NODE_SECTION__KEY`, read once into a frozen, typed object."""

import os
import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import (
    BaseModel,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from node.errors import SettingsError
from node.settings.routing import Peer, Route
from node.settings.sections import Delivery, Intake, Jobs, Node, Retention, Segmenter
from node.settings.types import any_match

DEFAULT_FILE = "qct-node.toml"


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
        """Whether every host may send: the default is no as soon as peers are configured."""
        chosen = self.intake.accept_unknown_peers
        return not self.peers if chosen is None else chosen

    def answers_to(self, called_ae: str) -> bool:
        """Tell whether an AE title is one of the node's: its own, a further one, or one that a route waits for."""
        if called_ae in (self.node.ae_title, *self.node.further_ae_titles):
            return True
        return bool(called_ae) and any(any_match(route.called_ae, called_ae) for route in self.routes)

    @property
    def ae_titles(self) -> tuple[str, ...]:
        """The AE titles, or patterns of them, to which the node answers; its own is the first."""
        waited_for = (pattern for route in self.routes for pattern in route.called_ae)
        return tuple(dict.fromkeys((self.node.ae_title, *self.node.further_ae_titles, *waited_for)))

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
    def wanted_kinds(self) -> dict[str, frozenset[str]]:
        """The kinds of results that each peer is sent."""
        return {p.name: p.kinds for p in self.peers}

    def peer(self, name: str) -> Peer | None:
        """Return the peer of this name, or None."""
        return next((p for p in self.peers if p.name == name), None)


def load_settings(path: Path | str | None = None, **overrides: dict[str, Any]) -> Settings:
    """Read the settings; overrides are sections, as in `load_settings(path, node={"dicom_port": 0})`.

    Overrides, which the command line gives, precede the environment, and both precede the file. Without a path,
    `qct-node.toml` in the current folder is read if it exists. Raises SettingsError with all faults at once.
    """
    file = _settings_file(path)
    unknown = _unknown_variables()
    try:
        values = _read_file(file) if file else {}
        for stronger in (EnvSettingsSource(Settings)(), overrides):
            values = _merged(values, stronger)
        settings = Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError([*(_fault(dict(e)) for e in error.errors()), *unknown]) from None
    except (OSError, ValueError) as error:  # ValueError: TOML, or JSON in the environment
        raise SettingsError([f"{file or 'environment'}: {_without_password(str(error))}"]) from None
    if unknown:
        raise SettingsError(unknown)
    return settings


def _read_file(path: Path) -> dict[str, Any]:
    """Return the values of a TOML file; relative paths in it (data, models) are relative to the file."""
    values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    routes = values.get("routes")
    paths = [(values.get("node"), "data")]
    paths += [(values.get("segmenter"), key) for key in ("model", "calibration")]
    paths += [(route, "model") for route in routes] if isinstance(routes, list) else []
    for section, key in paths:
        if isinstance(section, dict) and isinstance(section.get(key), str) and (section[key] or key == "data"):
            section[key] = str(path.parent.absolute() / Path(section[key]).expanduser())
    return values


def _merged(values: dict[str, Any], stronger: dict[str, Any]) -> dict[str, Any]:
    """Return values with those of a stronger source put in, tables key by key."""
    merged = dict(values)
    for key, value in stronger.items():
        weaker = merged.get(key)
        both_tables = isinstance(weaker, dict) and isinstance(value, dict)
        merged[key] = _merged(weaker, value) if both_tables else value  # type: ignore[arg-type]
    return merged


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
        rule = f"there is no such setting{_did_you_mean(error['loc'])}"
    if error["type"] == "tuple_type" and isinstance(error["input"], str):
        rule = f'write a list: ["{error["input"]}"]'
    if not key:
        return rule
    if error["type"] == "missing":
        return f"{key}: missing"
    if isinstance(error["input"], dict | list | tuple):
        return f"{key}: {rule}"  # the rule says what it found in the value
    return f"{key} = {_without_password(repr(error['input']))}: {rule}"


def _without_password(value: str) -> str:
    """Hide a password in a URL: all up to the last @, as it may hold an @, a slash or a colon itself."""
    shown, found = re.subn(r"(://[^:/@]*):.*@", r"\1:***@", value)
    return shown if found else re.sub(r"://.*@", "://***@", value)


def _did_you_mean(place: tuple[str | int, ...]) -> str:
    """Return a hint at the settings that are spelt nearly like the last part of a place, empty if none is."""
    *sections, key = (part for part in place if isinstance(part, str))
    fields: Mapping[str, FieldInfo] = Settings.model_fields
    for name in sections:
        fields = _section_of(fields[name]).model_fields if name in fields else {}
    near = get_close_matches(str(key).lower(), fields, n=1, cutoff=0.6)
    every = Settings.model_fields.items()
    elsewhere = [f"{name}.{key}" for name, field in every if key in _section_of(field).model_fields]
    meant = elsewhere or near
    return f"; did you mean {' or '.join(meant)}?" if meant else ""


def _section_of(field: FieldInfo) -> type[BaseModel]:
    """Return the section that a field of the settings holds, once or several times."""
    kind: Any = field.annotation
    section: type[BaseModel] = get_args(kind)[0] if get_origin(kind) is tuple else kind
    return section


def _unknown_variables() -> list[str]:
    """Return a fault for each environment variable that looks like a setting, but names no section."""
    faults = []
    for name in sorted(os.environ):
        section = name.lower().removeprefix("qct_node_").partition("__")[0]
        if name.upper().startswith("QCT_NODE_") and "__" in name and section not in Settings.model_fields:
            faults.append(f"{name}: there is no section {section}{_did_you_mean((section,))}")
    return faults
