"""The calibration phantoms that can be drawn: material, rods and shape.

Densities are the nominal ones of the makers' phantoms; the shapes are our own, simple, and of about the right size.
"""

from dataclasses import dataclass

from segmenter.density.calibration import Material
from segmenter.density.calibration_line import line_in_reference


@dataclass(frozen=True)
class ModelRod:
    """One rod: equivalent density, and the density of its water where the maker gives it (Mindways); mg/cm3."""

    density_mg_cm3: float
    water_mg_cm3: float | None = None

    def hu(self, slope: float, intercept: float) -> float:
        """Return its HU where bone of density d has slope * d + intercept."""
        if self.water_mg_cm3 is None:
            return slope * self.density_mg_cm3 + intercept
        sigma, beta = line_in_reference(slope, intercept)
        return self.water_mg_cm3 + sigma * self.density_mg_cm3 + beta


@dataclass(frozen=True)
class PhantomModel:
    """A water-equivalent slab with rods, equally spaced from the patient's right to the left; lengths in mm."""

    name: str
    material: Material
    rods: tuple[ModelRod, ...]
    rod_radius_mm: float
    pitch_mm: float
    half_width_mm: float
    thickness_mm: float


def _plain(*densities: float) -> tuple[ModelRod, ...]:
    return tuple(ModelRod(density) for density in densities)


SLAB = PhantomModel("synthetic slab", Material.HA, _plain(0.0, 50.0, 100.0, 200.0, 400.0), 9.0, 34.0, 95.0, 30.0)
MODELS = {
    "slab": SLAB,
    "mindways": PhantomModel(
        "Mindways Model 3 CT",
        Material.K2HPO4,
        (
            ModelRod(-51.83, 1012.25),
            ModelRod(-53.40, 1056.95),
            ModelRod(58.88, 1103.57),
            ModelRod(157.05, 1119.52),
            ModelRod(375.83, 923.20),
        ),
        rod_radius_mm=8.0,
        pitch_mm=30.0,
        half_width_mm=85.0,
        thickness_mm=26.0,
    ),
    "image-analysis": PhantomModel(
        "Image Analysis QCT-3D Plus", Material.HA, _plain(8.0, 97.3, 189.8), 10.0, 50.0, 90.0, 28.0
    ),
    "qrm-bdc": PhantomModel("QRM-BDC", Material.HA, _plain(100.0, 400.0, 800.0), 9.0, 40.0, 80.0, 25.0),
    "qrm-bdc-6": PhantomModel(
        "QRM-BDC-6", Material.HA, _plain(0.0, 100.0, 200.0, 400.0, 600.0, 800.0), 9.0, 28.0, 95.0, 25.0
    ),
    "b-mas": PhantomModel("B-MAS 200", Material.HA, _plain(0.0, 50.0, 100.0, 150.0, 200.0), 10.0, 36.0, 100.0, 30.0),
}
