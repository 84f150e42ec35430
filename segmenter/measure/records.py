"""The measurements of one scan as plain records; units in the names, the equivalent material beside every density."""

from dataclasses import dataclass
from typing import Any

from segmenter.density.calibration import Material
from segmenter.volume.femur import Confidence


@dataclass(frozen=True)
class Region:
    """One region or compartment of a femur; a density is None where nothing was calibrated.

    name: "integral", "cortical", "trabecular" of the whole mask, "total" (cut at a defined plane), "neck".
    mean and SD over the voxels. bmc_g: bone mineral content, density times volume.
    """

    name: str
    volume_ml: float
    voxels: int
    mean_hu: float
    sd_hu: float
    vbmd_mg_cm3: float | None = None
    bmc_g: float | None = None
    equivalent_material: Material | None = None


@dataclass(frozen=True)
class Plane:
    """A cut through a femur, LPS mm; normal points away from what is kept."""

    point_mm: tuple[float, float, float]
    normal: tuple[float, float, float]


@dataclass(frozen=True)
class Neck:
    """The femoral neck found from the bone's shape: its axis (LPS mm, towards the head), angles in degrees.

    problems: why the region must not be trusted; empty = it passed its checks.
    """

    centre_mm: tuple[float, float, float]
    axis: tuple[float, float, float]
    neck_shaft_angle_deg: float
    narrowest_area_mm2: float
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Landmarks:
    """Where the parts of a femur are, LPS mm: the sphere of the head, the shaft's axis (unit vector, towards the knee).

    head_residual_mm: RMS distance of the head's surface from the sphere. shaft_length_mm: how much shaft is seen.
    lesser_trochanter_mm: its tip, None = not found.
    """

    head_centre_mm: tuple[float, float, float]
    head_radius_mm: float
    head_residual_mm: float
    shaft_point_mm: tuple[float, float, float] | None = None
    shaft_direction: tuple[float, float, float] | None = None
    shaft_length_mm: float = 0.0
    lesser_trochanter_mm: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class FemurMeasurements:
    """All of one femur. regions: by name, only those that could be defined; the first is "integral".

    total_rule: how the "total" region is cut, in words ("100 mm below the top of the head"), empty = not cut.
    landmarks: None = no head was found. confidence: of the outline, None = the method does not say.
    """

    side: str
    complete: bool
    incomplete_reasons: tuple[str, ...]
    regions: tuple[Region, ...]
    total_rule: str = ""
    total_plane: Plane | None = None
    neck: Neck | None = None
    metal_suspected: bool = False
    contrast_suspected: bool = False
    warnings: tuple[str, ...] = ()
    landmarks: Landmarks | None = None
    confidence: Confidence | None = None

    def region(self, name: str) -> Region | None:
        """Return a region by its name."""
        return next((region for region in self.regions if region.name == name), None)


@dataclass(frozen=True)
class Asymmetry:
    """Left against right of two whole femurs, per region: 100 * (left - right) / mean of both, in percent."""

    region: str
    volume_percent: float
    mean_hu_difference: float
    vbmd_percent: float | None = None
    bmc_percent: float | None = None


@dataclass(frozen=True)
class Measurements:
    """The femurs of one scan, left first, how they compare, and warnings of what is not among them."""

    femurs: tuple[FemurMeasurements, ...]
    asymmetry: tuple[Asymmetry, ...] = ()
    settings: tuple[tuple[str, Any], ...] = ()  # names and values of the settings that shaped them
    warnings: tuple[str, ...] = ()
