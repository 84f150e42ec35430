"""The femurs and their comparison as `report.json` holds them.

The attribute docstrings are the descriptions of the published JSON schema (docs/reference/report.schema.json).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from segmenter.measure.records import Asymmetry, FemurMeasurements, Measurements, Region

Kind = TypeVar("Kind", "PlaneReport", "NeckReport", "LandmarksReport", "ConfidenceReport")


class Described:
    """A record whose attribute docstrings describe its keys in the schema; the schema allows no other keys."""

    __pydantic_config__: ClassVar = {"use_attribute_docstrings": True, "extra": "forbid"}


@dataclass(frozen=True)
class RegionReport(Described):
    """One region or compartment of a femur. The densities are null where nothing was calibrated."""

    volume_ml: float
    """Volume of the voxels in mL."""
    voxels: int
    """How many voxels of the source grid it holds."""
    mean_hu: float
    """Mean of the voxels in HU, as scanned."""
    sd_hu: float
    """Standard deviation over the voxels in HU."""
    vbmd_mg_cm3: float | None
    """Volumetric bone mineral density: mean calibrated density of the voxels in mg/cm3 of equivalent_material."""
    bmc_g: float | None
    """Bone mineral content in g of equivalent_material: density times volume."""
    equivalent_material: str | None
    """"K2HPO4" or "HA": what the densities are equivalent to. The two must not be compared."""


@dataclass(frozen=True)
class PlaneReport(Described):
    """A cut through a femur, in LPS mm."""

    point_mm: tuple[float, float, float]
    """A point of the plane."""
    normal: tuple[float, float, float]
    """Unit vector away from what is kept."""


@dataclass(frozen=True)
class NeckReport(Described):
    """The femoral neck as found from the bone's shape."""

    centre_mm: tuple[float, float, float]
    """Middle of the narrowest section, LPS mm."""
    axis: tuple[float, float, float]
    """Unit vector towards the head, LPS."""
    neck_shaft_angle_deg: float
    """Angle between neck and shaft in degrees."""
    narrowest_area_mm2: float
    """Area of the narrowest section in mm2."""
    problems: tuple[str, ...]
    """Why the region is not to be trusted and therefore not given; empty when all checks passed."""


@dataclass(frozen=True)
class LandmarksReport(Described):
    """Where the parts of a femur are, LPS mm; what was not found is null."""

    head_centre_mm: tuple[float, float, float]
    """Centre of the sphere fitted to the head."""
    head_radius_mm: float
    """Its radius in mm."""
    head_residual_mm: float
    """RMS distance of the head's surface from the sphere in mm."""
    shaft_point_mm: tuple[float, float, float] | None
    """A point of the shaft's axis."""
    shaft_direction: tuple[float, float, float] | None
    """Unit vector along the shaft towards the knee."""
    shaft_length_mm: float
    """How much of the shaft is seen in mm."""
    lesser_trochanter_mm: tuple[float, float, float] | None
    """Tip of the lesser trochanter."""


@dataclass(frozen=True)
class ConfidenceReport(Described):
    """How sure the network is of an outline. It is no probability that the outline is right."""

    level: str
    """"high", "medium" or "low"; at "low" the outline must be compared with the images before a number is used."""
    width_mm: float | None
    """Over how many mm the network passes from bone to none, on the most uncertain twentieth of the surface or less."""


@dataclass(frozen=True)
class FemurReport(RegionReport):
    """One femur; the numbers beside `side` are of the whole mask ("integral")."""

    side: str
    """"left" or "right": the patient's side."""
    complete: bool
    """Whether the scan holds head, neck and trochanters."""
    incomplete_reasons: tuple[str, ...]
    """What is cut off; empty when complete."""
    confidence: ConfidenceReport | None
    """How sure the outline is; null from a method that does not say."""
    regions: Mapping[str, RegionReport]
    """Other regions by name: "cortical", "trabecular", "total", "neck"; one that cannot be defined is absent."""
    total_rule: str
    """How "total" is cut, in words; empty when it is not."""
    total_plane: PlaneReport | None
    """The plane that cuts "total"."""
    neck: NeckReport | None
    """The neck's axis and its checks; null when none was found."""
    landmarks: LandmarksReport | None
    """Head, shaft and lesser trochanter; null when no head was found."""
    metal_suspected: bool
    """Whether metal seems to lie in or at the femur: its numbers are then not to be trusted."""
    contrast_suspected: bool
    """Whether contrast agent seems to be in the vessels: densities are then too high."""
    warnings: tuple[str, ...]
    """Sentences about this femur."""


@dataclass(frozen=True)
class AsymmetryReport(Described):
    """Left against right of one region, both femurs complete: 100 * (left - right) / mean of both."""

    region: str
    """The region's name."""
    volume_percent: float
    """Of the volume, in percent."""
    mean_difference_hu: float
    """Left minus right in HU."""
    vbmd_percent: float | None
    """Of the density, in percent."""
    bmc_percent: float | None
    """Of the bone mineral content, in percent."""


def describe_measurements(measured: Measurements) -> tuple[tuple[FemurReport, ...], tuple[AsymmetryReport, ...]]:
    """Return femurs and asymmetry as the report gives them, rounded to what the digits mean."""
    asymmetry = tuple(_asymmetry(row) for row in measured.asymmetry)
    return tuple(_femur(femur) for femur in measured.femurs), asymmetry


def _asymmetry(row: Asymmetry) -> AsymmetryReport:
    values = rounded(vars(row), 2)
    values["mean_difference_hu"] = values.pop("mean_hu_difference")
    return AsymmetryReport(**values)


def _femur(femur: FemurMeasurements) -> FemurReport:
    whole, *others = femur.regions
    return FemurReport(
        **_region(whole),
        side=femur.side,
        complete=femur.complete,
        incomplete_reasons=femur.incomplete_reasons,
        confidence=_as(ConfidenceReport, femur.confidence),
        regions={region.name: RegionReport(**_region(region)) for region in others},
        total_rule=femur.total_rule,
        total_plane=_as(PlaneReport, femur.total_plane),
        neck=_as(NeckReport, femur.neck),
        landmarks=_as(LandmarksReport, femur.landmarks),
        metal_suspected=femur.metal_suspected,
        contrast_suspected=femur.contrast_suspected,
        warnings=femur.warnings,
    )


def _region(region: Region) -> dict[str, Any]:
    values = rounded(vars(region), 3)
    del values["name"]
    return values


def _as(kind: type[Kind], found: object | None) -> Kind | None:
    """Return a record of the measurements in the report's form, which has the same names; None stays None."""
    return None if found is None else kind(**rounded(vars(found), 4))


def rounded(values: Mapping[str, Any], digits: int) -> dict[str, Any]:
    """Return the values with every number rounded, in tuples too."""

    def one(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(one(item) for item in value)
        return round(value, digits) if isinstance(value, float) else value

    return {key: one(value) for key, value in values.items()}
