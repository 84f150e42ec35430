"""The scanner and acquisition of a series, which certificates and phantoms are matched with."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from typing import Any

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from segmenter.read.files import UNREADABLE
from segmenter.read.image_kind import Beam, ImageKind, image_kind
from segmenter.read.slices import Slice

GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")


@dataclass(frozen=True)
class Scanner:
    """Equipment and acquisition of a scan; empty or None where the header does not state it for all slices.

    beam, kev: the kind of its images. differing: what is not the same in all slices, as sentences.
    """

    manufacturer: str = ""
    model: str = ""
    station_name: str = ""
    device_serial: str = ""
    kvp: float | None = None
    kernel: str = ""
    scan_date: date | None = None
    beam: Beam = Beam.POLYCHROMATIC
    kev: float | None = None
    differing: tuple[str, ...] = ()


def read_scanner(header: Dataset, slices: Sequence[Slice] = ()) -> Scanner:
    """Return the scanner of a CT image; of an enhanced one, also from the first frame's functional groups.

    slices: of the scan, whose kinds, tube voltages and kernels are compared; without them those of the header count.
    """
    places = list(_places(header))

    def text(keyword: str) -> str:
        return next((found for place in places if (found := _text(place, keyword))), "")

    kinds = {plane.kind for plane in slices} or {image_kind(places)}
    voltages, kernels = {kind.kvp for kind in kinds}, {kind.kernel for kind in kinds}
    beams = {(kind.beam, kind.kev) for kind in kinds}
    beam, kev = min(beams, key=lambda pair: pair[1] or 0.0)
    days = (text(keyword)[:8] for keyword in ("AcquisitionDate", "AcquisitionDateTime", "SeriesDate", "StudyDate"))
    return Scanner(
        manufacturer=text("Manufacturer"),
        model=text("ManufacturerModelName"),
        station_name=text("StationName"),
        device_serial=text("DeviceSerialNumber"),
        kvp=voltages.pop() if len(voltages) == 1 else None,
        kernel=kernels.pop() if len(kernels) == 1 else "",
        scan_date=next((day for given in days if (day := _day(given))), None),
        beam=beam,
        kev=kev,
        differing=_differing(kinds),
    )


def _differing(kinds: Iterable[ImageKind]) -> tuple[str, ...]:
    """Return a sentence for each thing that is stated differently in the slices; what is not stated does not count."""
    voltages = sorted({kind.kvp for kind in kinds if kind.kvp})
    kernels = {" ".join(kind.kernel.upper().split()) for kind in kinds if kind.kernel}
    beams = sorted({kind.described for kind in kinds})
    sentences = []
    if len(voltages) > 1:
        sentences.append(f"its slices were made at {' and '.join(f'{kvp:g}' for kvp in voltages[:4])} kV")
    if len(kernels) > 1:
        sentences.append(f"its slices were reconstructed with {len(kernels)} different kernels")
    if len(beams) > 1:
        sentences.append(f"its slices are of different kinds ({', '.join(beams[:4])})")
    return tuple(sentences)


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
