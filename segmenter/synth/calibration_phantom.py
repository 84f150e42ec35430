"""The table and a calibration phantom with rods of known density, drawn as simple bodies under the patient."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmenter.synth.calibration_phantom_models import SLAB, PhantomModel
from segmenter.synth.layers import coordinates
from segmenter.volume.geometry import Geometry


@dataclass(frozen=True)
class CalibrationPhantom:
    """A water-equivalent slab with rods along z, on a table top.

    HU = slope_hu_per_mg_cm3 * density + intercept_hu holds for bone and for the rods' material alike, and `drift`
    (a share, of another tube voltage) raises both numbers in the image. Lengths in LPS mm.
    """

    top_mm: float
    low_mm: float
    high_mm: float
    centre_x_mm: float
    slope_hu_per_mg_cm3: float
    intercept_hu: float
    with_rods: bool
    prone: bool = False  # then table and phantom are in front of the patient
    model: PhantomModel = SLAB
    drift: float = 0.0

    @classmethod
    def sample(
        cls, rng: np.random.Generator, *, top_mm: float, low_mm: float, high_mm: float, prone: bool = False
    ) -> "CalibrationPhantom":
        """Draw a scanner's calibration line and the phantom's place under the patient."""
        return cls(
            top_mm,
            low_mm,
            high_mm,
            float(rng.uniform(-15, 15)),
            float(rng.uniform(1.15, 1.5)),
            float(rng.uniform(-6, 6)),
            bool(rng.random() < 0.7),
            prone,
        )

    @property
    def line(self) -> tuple[float, float]:
        """Slope (HU per mg/cm3) and intercept (HU) as the image shows them, drift included."""
        return self.slope_hu_per_mg_cm3 * (1 + self.drift), self.intercept_hu * (1 + self.drift)

    def rods(self) -> list[dict[str, float]]:
        """Return centre (LPS mm), density (mg/cm3) and HU, as the image shows it, of every rod."""
        middle = (len(self.model.rods) - 1) / 2
        slope, intercept = self.line
        return [
            {
                "x_mm": self.centre_x_mm + (n - middle) * self.model.pitch_mm,
                "y_mm": self.top_mm + (-1 if self.prone else 1) * self.model.thickness_mm / 2,
                "density_mg_cm3": rod.density_mg_cm3,
                "hu": rod.hu(slope, intercept),
            }
            for n, rod in enumerate(self.model.rods)
        ]

    def draw(self, hu: NDArray[np.float32], geometry: Geometry) -> None:
        """Draw table, slab and rods into `hu` `(z, y, x)` in place, only where there was air; without the drift."""
        x, y, _ = coordinates(geometry)
        away = self.top_mm - y if self.prone else y - self.top_mm  # from the patient, mm
        if away.max() < -1:
            return
        thickness = self.model.thickness_mm
        slab = (np.abs(x - self.centre_x_mm) < self.model.half_width_mm) & (away > 0) & (away < thickness)
        couch = away - (thickness + 2 if self.with_rods else 2) + 0.0004 * x**2  # curved up at its sides
        shell = (np.abs(x) < 210) & (couch > 0) & (couch < 28)
        skin = shell & ((couch < 2.5) | (couch > 25.5))
        air = hu < -700
        hu[air & shell] = -930
        hu[air & skin] = -150
        if self.with_rods:
            hu[air & slab] = 5 + self.intercept_hu
            for rod in self.rods():
                inside = (x - rod["x_mm"]) ** 2 + (y - rod["y_mm"]) ** 2 < self.model.rod_radius_mm**2
                hu[air & slab & inside] = rod["hu"] / (1 + self.drift)
