"""The scanner and acquisition of a series, which certificates and phantoms are matched with."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from typing import Any

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from segmenter.read.files import UNREADABLE

GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")


@dataclass(frozen=True)
class Scanner:
    """Equipment and acquisition of the header; empty or None if absent."""

    manufacturer: str = ""
    model: str = ""
    station_name: str = ""
    device_serial: str = ""
    kvp: float | None = None
    kernel: str = ""
    scan_date: date | None = None


def read_scanner(header: Dataset) -> Scanner:
    """Return the scanner of a CT image; of an enhanced one, also from the first frame's functional groups."""
    places = list(_places(header))

    def text(keyword: str) -> str:
        return next((found for place in places if (found := _text(place, keyword))), "")

    kvp = None
    with suppress(ValueError):
        kvp = float(text("KVP") or "none")
    days = (text(keyword)[:8] for keyword in ("AcquisitionDate", "AcquisitionDateTime", "SeriesDate", "StudyDate"))
    return Scanner(
        manufacturer=text("Manufacturer"),
        model=text("ManufacturerModelName"),
        station_name=text("StationName"),
        device_serial=text("DeviceSerialNumber"),
        kvp=kvp,
        kernel=text("ConvolutionKernel"),
        scan_date=next((day for given in days if (day := _day(given))), None),
    )


def same(wanted: str, found: str) -> bool:
    """Return whether two names are equal, ignoring case and spaces."""
    return wanted.casefold().split() == found.casefold().split()


def _places(header: Dataset) -> Iterator[Dataset]:
    """Yield the data sets that may hold a value, nearest first (PS3.3 C.7.6.16)."""
    yield header
    for group in GROUPS:
        with suppress(*UNREADABLE, IndexError, TypeError):
            for element in header[group].value[0]:
                if element.VR == "SQ" and element.value:
                    yield element.value[0]


def _text(place: Dataset, keyword: str) -> str:
    """Return a value as text, several joined as DICOM joins them; empty if absent or invalid."""
    value: Any = None
    with suppress(*UNREADABLE):  # pydicom decodes a value on access
        value = place.get(keyword)
    parts = value if isinstance(value, MultiValue | list) else [value]
    return "\\".join(str(part).strip() for part in parts if part not in (None, ""))


def _day(text: str) -> date | None:
    with suppress(ValueError):
        return date.fromisoformat(text) if len(text) == 8 else None
    return None
