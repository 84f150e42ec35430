"""What kind of CT image a plane is, from its header: attenuation of which beam, or no attenuation at all.

The image types of multi-energy CT are those of PS3.3 C.8.15.2.1.1.5; scanners that are older than these say the same in
further values of Image Type, in the kernel's name or in the series description.
"""

import math
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from pydicom.dataset import Dataset

from segmenter.read.header_values import texts_of, value_of

DESCRIPTIONS = ("SeriesDescription", "DerivationDescription")
FROM_VALUE = 2  # of Image Type: the first two say original or derived, primary or secondary
KEV = (30.0, 200.0)


class Beam(StrEnum):
    """Whose attenuation the HU are; a line from HU to density holds for one of them."""

    POLYCHROMATIC = "polychromatic"  # of the whole spectrum of one tube voltage
    MONOENERGETIC = "monoenergetic"  # as photons of one energy would show it, computed
    MULTI_ENERGY = "multi-energy"  # from several spectra or energy bins, of no energy that the header states


@dataclass(frozen=True)
class ImageKind:
    """How the values of one plane came about.

    beam, kev: kev only for MONOENERGETIC, None where the header does not state it. kvp: tube voltage; None where it is
    not stated, or several are. kernel: as in the header, several values joined by a backslash. not_hu: what the values
    are instead of attenuation, in words; empty for HU.
    """

    beam: Beam = Beam.POLYCHROMATIC
    kev: float | None = None
    kvp: float | None = None
    kernel: str = ""
    not_hu: str = ""

    @property
    def described(self) -> str:
        """The beam in words."""
        if self.beam is not Beam.MONOENERGETIC:
            return str(self.beam)
        return f"monoenergetic at {self.kev:g} keV" if self.kev else "monoenergetic at an unknown energy"


PLAIN = ImageKind()


def _any_of(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(rf"(?<![A-Z0-9])(?:{pattern})(?![A-Z0-9])" for pattern in patterns))


# Whole words of Image Type from its third value on. What they say holds whatever else is in the header.
TYPES = {
    "a map of one material": _any_of("MAT_SPECIFIC", "MAT_FRACTIONAL", "MAT_VALUE_BASED", "IODINE"),
    "what is left without one material": _any_of("MAT_REMOVED", "MAT_MODIFIED", "VNC", "VNCA"),
    "a map of effective atomic numbers": _any_of("EFF_ATOMIC_NUM", "Z_?EFF", "RHO_?Z"),
    "a map of electron densities": _any_of("ELECTRON_DENSITY", "EDW?"),
    "a perfusion map": _any_of("CBF", "CBV", "MTT", "TTP", "TMAX", "PBV"),
    "a projection of the highest or lowest values": _any_of("MIP", "MAX_?IP", "MIN_?IP", "MAXIMUM", "MINIMUM"),
    "the result of arithmetic with images": _any_of("SUBTRACTION", "DIVISION", "MULTIPLICATION", "STD_DEVIATION"),
    "a rendered surface or volume": _any_of("VRT", "SSD", "VOLUME_RENDER(?:ED)?", "SURFACE_RENDER(?:ED)?"),
}
# Phrases of the descriptions that no other series has.
PHRASES = {
    "a map of one material": _any_of(
        "IODINE (?:MAP|DENSITY|NO WATER|OVERLAY|IMAGE|CONCENTRATION)S?",
        r"(?:IODINE|WATER|CALCIUM|HAP|HA|FAT|BLOOD) ?\((?:IODINE|WATER|CALCIUM|HAP|HA|FAT|BLOOD)\)?",
        "CALCIUM (?:MAP|DENSITY)",
        "URIC ACID (?:MAP|IMAGE)S?",
    ),
    "what is left without one material": _any_of(
        "VNC", "VNCA", "(?:VIRTUAL|VIRT) (?:NON|UN)[ -]?(?:CALCIUM|CONTRAST|ENHANCED)", "CALCIUM SUPPRESS(?:ED|ION)",
        "(?:BONE MARROW|MARROW) MAP",
    ),
    "a map of effective atomic numbers": _any_of("Z ?EFF(?:ECTIVE)?", "EFFECTIVE (?:Z|ATOMIC NUMBER)S?", "RHO ?/ ?Z"),
    "a map of electron densities": _any_of("ELECTRON DENSIT(?:Y|IES)"),
    "relative densities (DirectDensity)": _any_of("DIRECT ?DENSITY"),
    "stopping powers (DirectSPR)": _any_of("DIRECT ?SPR", "STOPPING POWERS?"),
    "a projection of the highest or lowest values": _any_of("MIP", "MINIP", "MAXIP"),
}  # fmt: skip
# In the description of derived images; reformations of a scan with contrast medium are derived, too.
IODINE, WITH_CONTRAST = (
    _any_of("IODINE"),
    _any_of("WITH", "W", "AFTER", "POST", "CONTRAST", "ENHANCED", "IV", "INJECTED"),
)
CALCULATED = {
    "MAX_IP": "a projection of the highest or lowest values",
    "MIN_IP": "a projection of the highest or lowest values",
    "VOLUME_RENDER": "a rendered surface or volume",
    "SURFACE_RENDER": "a rendered surface or volume",
}
ENERGY = re.compile(r"(?<![\d.])(\d{2,3}(?:\.\d+)?)[ _]?KEV(?![A-Z])")
MONO = _any_of("VMI", "MONO", "MONO ?E", "MONO ?PLUS", "MONO_?ENERGETIC(?:PLUS)?", "MONO_?CHROM(?:ATIC)?")
PHOTON_COUNTING = _any_of("NAEOTOM")  # models whose images are of one energy or of a threshold, never of a tube voltage
SPECTRAL = _any_of("QUANTUM", "SPECTRAL", "DUAL_?ENERGY", "DE_?MIXED", "ENERGY_PROP_WT", "T3D")
DENSITY_KERNEL = re.compile(r"SD\d\d")  # Siemens: the kernels of DirectDensity begin so


def image_kind(groups: Sequence[Dataset]) -> ImageKind:
    """Return the kind of a plane; groups: the data sets that hold its attributes, nearest first.

    A value that cannot be read counts as absent.
    """
    types = _values(groups, "ImageType"), _values(groups, "FrameType")
    words = " ".join(value for each in types for value in each[FROM_VALUE:]).upper()
    phrases = (
        " ".join(value for keyword in DESCRIPTIONS for value in _values(groups, keyword)).upper().replace("_", " ")
    )
    kernel = "\\".join(_values(groups, "ConvolutionKernel"))
    derived = any(each[:1] == ("DERIVED",) for each in types)
    calculated = "".join(_values(groups, "VolumeBasedCalculationTechnique"))
    voltages = {kvp for group in groups for kvp in _numbers(group, "KVP") if kvp > 0}
    kev = _stated_energy(groups) or _energy_in(f"{words} {phrases}")
    beam = Beam.POLYCHROMATIC
    if kev or MONO.search(f"{words} {phrases}"):
        beam = Beam.MONOENERGETIC
    elif len(voltages) > 1 or SPECTRAL.search(words) or _says_multi_energy(groups):
        beam = Beam.MULTI_ENERGY
    return ImageKind(
        beam,
        kev,
        voltages.pop() if len(voltages) == 1 else None,
        kernel,
        _instead_of_hu(words, phrases, kernel, calculated, derived),
    )


@lru_cache(maxsize=64)
def _instead_of_hu(words: str, phrases: str, kernel: str, calculated: str, derived: bool) -> str:
    """Return in words what the values are if they are no HU; empty if nothing says so."""
    found = [what for what, pattern in TYPES.items() if pattern.search(words)]
    found += [CALCULATED[calculated]] if calculated in CALCULATED else []
    found += [what for what, pattern in PHRASES.items() if pattern.search(phrases)]
    if derived and IODINE.search(phrases) and not WITH_CONTRAST.search(phrases):
        found.append("a map of one material")
    if DENSITY_KERNEL.match(kernel.upper()):
        found.append("relative densities (DirectDensity)")
    return found[0] if found else ""


def _says_multi_energy(groups: Sequence[Dataset]) -> bool:
    """Return whether the scan was made with several spectra or energy bins (PS3.3 C.8.2.1, C.8.15.3.10)."""
    if _values(groups, "MultienergyCTAcquisition") == ("YES",):
        return True
    return any(PHOTON_COUNTING.search(model.upper()) for model in _values(groups, "ManufacturerModelName"))


def _stated_energy(groups: Sequence[Dataset]) -> float | None:
    """Return the energy of a monoenergetic image, keV (PS3.3 C.8.15.3.12)."""
    characteristics = [item for group in groups for item in _items(group, "MultienergyCTCharacteristicsSequence")]
    energies = [kev for item in (*characteristics, *groups) for kev in _numbers(item, "MonoenergeticEnergyEquivalent")]
    return next((kev for kev in energies if kev > 0), None)


def _energy_in(text: str) -> float | None:
    stated = [float(number) for number in ENERGY.findall(text)]
    return next((kev for kev in stated if KEV[0] <= kev <= KEV[1]), None)


def _values(groups: Sequence[Dataset], keyword: str) -> tuple[str, ...]:
    """Return the values of the nearest data set that has any, as text."""
    return next((tuple(values) for group in groups if (values := texts_of(group, keyword))), ())


def _numbers(group: Dataset, keyword: str) -> list[float]:
    numbers = []
    for text in texts_of(group, keyword):
        with suppress(ValueError):
            numbers.append(float(text))
    return [number for number in numbers if math.isfinite(number)]


def _items(group: Dataset, keyword: str) -> list[Dataset]:
    items = value_of(group, keyword)
    return list(items) if isinstance(items, Sequence) else []
