"""The table and a calibration phantom with rods of known density, as simple bodies drawn under the patient."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmenter.geometry import Geometry
from segmenter.synth.layers import coordinates

ROD_DENSITIES_MG_CM3 = (0.0, 50.0, 100.0, 200.0, 400.0)  # hydroxyapatite equivalent
ROD_RADIUS_MM = 9.0
ROD_PITCH_MM = 34.0
SLAB_HALF_WIDTH_MM = 95.0
SLAB_THICKNESS_MM = 30.0


@dataclass(frozen=True)
class CalibrationPhantom:
    """A water-equivalent slab with five hydroxyapatite rods along z, on a table top.

    HU of a rod = slope_hu_per_mg_cm3 * density + intercept_hu, the same line that holds for bone. Lengths in LPS mm.
    """

    top_mm: float
    low_mm: float
    high_mm: float
    centre_x_mm: float
    slope_hu_per_mg_cm3: float
    intercept_hu: float
    with_rods: bool
    prone: bool = False  # then table and phantom are in front of the patient

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

    def rods(self) -> list[dict[str, float]]:
        """Return centre (LPS mm), density (mg/cm3) and HU of every rod."""
        middle = (len(ROD_DENSITIES_MG_CM3) - 1) / 2
        return [
            {
                "x_mm": self.centre_x_mm + (n - middle) * ROD_PITCH_MM,
                "y_mm": self.top_mm + (-1 if self.prone else 1) * SLAB_THICKNESS_MM / 2,
                "density_mg_cm3": density,
                "hu": self.slope_hu_per_mg_cm3 * density + self.intercept_hu,
            }
            for n, density in enumerate(ROD_DENSITIES_MG_CM3)
        ]

    def draw(self, hu: NDArray[np.float32], geometry: Geometry) -> None:
        """Draw table, slab and rods into `hu` `(z, y, x)` in place, only where there was air."""
        x, y, _ = coordinates(geometry)
        away = self.top_mm - y if self.prone else y - self.top_mm  # from the patient, mm
        if away.max() < -1:
            return
        slab = (np.abs(x - self.centre_x_mm) < SLAB_HALF_WIDTH_MM) & (away > 0) & (away < SLAB_THICKNESS_MM)
        couch = away - (SLAB_THICKNESS_MM + 2 if self.with_rods else 2) + 0.0004 * x**2  # curved up at its sides
        shell = (np.abs(x) < 210) & (couch > 0) & (couch < 28)
        skin = shell & ((couch < 2.5) | (couch > 25.5))
        air = hu < -700
        hu[air & shell] = -930
        hu[air & skin] = -150
        if self.with_rods:
            hu[air & slab] = 5 + self.intercept_hu
            for rod in self.rods():
                hu[air & slab & ((x - rod["x_mm"]) ** 2 + (y - rod["y_mm"]) ** 2 < ROD_RADIUS_MM**2)] = rod["hu"]
