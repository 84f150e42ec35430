"""The calibration settings of a site: its phantoms, and the certificates of its scanners.

One TOML file, read once into frozen records. A sample is shipped in `segmenter/data/phantoms`;
`docs/reference/calibration.md` explains every key. For investigational use.
"""

import hashlib
import tomllib
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from segmenter.density.calibration import Material
from segmenter.errors import Reason, SegmenterError
from segmenter.read.image_kind import Beam

LEAST_RODS = 3  # two points always lie on a line
LEAST_SPAN_MG_CM3 = 50.0  # between the thinnest and the densest rod


def _date(value: Any) -> Any:
    """Accept a TOML date or a date as text; numbers are ambiguous and refused."""
    if isinstance(value, str):
        return date.fromisoformat(value)
    if type(value) is not date:
        raise ValueError("a date is written YYYY-MM-DD")
    return value


def _lowered(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


Day = Annotated[date, BeforeValidator(_date)]
Substance = Annotated[Material, Field(strict=False)]
Name = Annotated[str, Field(min_length=1, max_length=64)]
Text = Annotated[str, Field(max_length=64)]  # the longest text (LO) in a DICOM header


class Record(BaseModel):
    """A part of the settings: frozen, without unknown keys, strictly typed, only finite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class RodSettings(Record):
    """One rod of the certificate. offset_mm: its position along the row, needed if rods are unevenly spaced.

    water_mg_cm3: the density of its water, which Mindways phantoms state for each rod.
    """

    density_mg_cm3: Annotated[float, Field(ge=-200, le=2000)]
    water_mg_cm3: Annotated[float, Field(ge=500, le=1500)] | None = None
    offset_mm: float | None = None


class PhantomSettings(Record):
    """One calibration phantom of the site; rods in their order in the phantom, from either end.

    manufacturer, model, station_name: the scanners it is used at; empty = all.
    """

    name: Name
    serial: Text = ""
    certificate_date: Day | None = None
    equivalent_material: Substance
    layout: Literal["slab", "rods"] = "slab"
    rod_diameter_mm: Annotated[float, Field(ge=6, le=60)]
    rod_spacing_mm: Annotated[float, Field(ge=6, le=200)] | None = None
    rods: Annotated[tuple[RodSettings, ...], BeforeValidator(_lowered), Field(min_length=LEAST_RODS, max_length=12)]
    manufacturer: Text = ""
    model: Text = ""
    station_name: Text = ""

    @field_validator("rods")
    @classmethod
    def _rods_make_a_line(cls, rods: tuple[RodSettings, ...]) -> tuple[RodSettings, ...]:
        densities = [rod.density_mg_cm3 for rod in rods]
        if max(densities) - min(densities) < LEAST_SPAN_MG_CM3:
            raise ValueError(f"the rods' densities must span {LEAST_SPAN_MG_CM3:g} mg/cm3 or more")
        if len({rod.water_mg_cm3 is None for rod in rods}) > 1:
            raise ValueError("water_mg_cm3 must be given for every rod or for none")
        if len({rod.offset_mm is None for rod in rods}) > 1:
            raise ValueError("offset_mm must be given for every rod or for none")
        return rods

    @model_validator(mode="after")
    def _rods_lie_apart(self) -> Self:
        if self.equivalent_material is not Material.K2HPO4 and self.rods[0].water_mg_cm3 is not None:
            raise ValueError("water_mg_cm3 belongs to phantoms of K2HPO4")
        given = self.rods[0].offset_mm is not None
        if given == (self.rod_spacing_mm is not None):
            raise ValueError("either rod_spacing_mm, or offset_mm for every rod, must say where the rods lie")
        places = self.offsets_mm
        if any(b - a < self.rod_diameter_mm for a, b in pairwise(places)):
            raise ValueError("rods must lie at least rod_diameter_mm apart, in growing order")
        return self

    @property
    def offsets_mm(self) -> tuple[float, ...]:
        """Place of every rod along the row, about the middle of the row."""
        spacing = self.rod_spacing_mm or 0.0
        places = [n * spacing if rod.offset_mm is None else rod.offset_mm for n, rod in enumerate(self.rods)]
        middle = (places[0] + places[-1]) / 2
        return tuple(place - middle for place in places)

    @property
    def title(self) -> str:
        """Name and serial for messages."""
        return f"{self.name} {self.serial}".strip()


class AsynchronousSettings(Record):
    """The line measured for one scanner at one tube voltage, and its period of validity.

    image, kev: the kind of images it was measured in; kev is the energy of monoenergetic ones.
    """

    manufacturer: Name
    model: Name
    station_name: Text = ""
    device_serial: Text = ""
    kvp: Annotated[float, Field(ge=60, le=160)]
    kernel: Text = ""
    image: Annotated[Beam, Field(strict=False)] = Beam.POLYCHROMATIC
    kev: Annotated[float, Field(ge=30, le=200)] | None = None
    slope_hu_per_mg_cm3: Annotated[float, Field(ge=0.3, le=5)]
    intercept_hu: Annotated[float, Field(ge=-300, le=300)]
    equivalent_material: Substance
    certificate_date: Day
    valid_until: Day

    @model_validator(mode="after")
    def _one_scanner(self) -> Self:
        if not (self.station_name or self.device_serial):
            raise ValueError("station_name or device_serial must say which scanner it is")
        if (self.image is Beam.MONOENERGETIC) != (self.kev is not None):
            raise ValueError('kev must be given for image = "monoenergetic", and only then')
        if self.valid_until < self.certificate_date:
            raise ValueError(f"valid_until {self.valid_until} lies before certificate_date {self.certificate_date}")
        return self


class DensitySettings(Record):
    """The calibration method. mode: "auto" uses a phantom in the scan, otherwise the scanner's certificate."""

    mode: Literal["auto", "phantom", "asynchronous", "none"] = "none"
    phantoms: Annotated[tuple[PhantomSettings, ...], BeforeValidator(_lowered)] = ()
    asynchronous: Annotated[tuple[AsynchronousSettings, ...], BeforeValidator(_lowered)] = ()

    @model_validator(mode="after")
    def _mode_has_what_it_needs(self) -> Self:
        missing = {
            "auto": not (self.phantoms or self.asynchronous) and "[[phantoms]] or [[asynchronous]]",
            "phantom": not self.phantoms and "[[phantoms]]",
            "asynchronous": not self.asynchronous and "[[asynchronous]]",
        }.get(self.mode)
        if missing:
            raise ValueError(f'mode = "{self.mode}" needs {missing}')
        names = [(phantom.name, phantom.serial) for phantom in self.phantoms]
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two phantoms have the name and serial {' '.join(doubled[0]).strip()!r}")
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of all settings, which distinguishes results."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def read_density_settings(path: Path | None) -> DensitySettings:
    """Read the file; None means mode "none".

    Raises SegmenterError(SETTINGS) with all faults at once, each as `key = value: rule`.
    """
    if path is None:
        return DensitySettings()
    try:
        return DensitySettings(**tomllib.loads(path.read_text("utf-8")))
    except ValidationError as error:
        faults = "; ".join(_fault(dict(item)) for item in error.errors())
    except (OSError, ValueError) as error:  # ValueError: not TOML, or not UTF-8
        faults = str(error)
    raise SegmenterError(Reason.SETTINGS, f"the calibration settings {path.name} cannot be used: {faults}")


def _fault(error: dict[str, Any]) -> str:
    """Return `key = value: rule` for one of pydantic's errors."""
    key = ".".join(str(part) for part in error["loc"])
    rule = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "missing":
        return f"{key}: missing"
    if error["type"] == "extra_forbidden":
        rule = "unknown setting"
    if isinstance(error["input"], dict | list | tuple | BaseModel):
        return f"{key}: {rule}".removeprefix(": ")
    return f"{key} = {error['input']!r}: {rule}"
