"""The truth beside a synthetic scan: one mask per femur on the scan's grid, and `truth.json`."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from segmenter.density.calibration import Material
from segmenter.synth.patient import Patient
from segmenter.synth.series.framing import proximal_share, stored, stored_grid
from segmenter.synth.series.options import Position
from segmenter.volume.femur import Side
from segmenter.volume.geometry import Geometry

MATERIAL_NAMES = {Material.HA: "hydroxyapatite", Material.K2HPO4: "dipotassium hydrogen phosphate"}


@dataclass(eq=False)
class Truth:
    """Collects the truth slice by slice.

    geometry: of the scan along the patient's axes. shown: which pixels `(y, x)` of a slice are inside the field.
    """

    patient: Patient
    geometry: Geometry
    shown: NDArray[np.bool_]
    masks: dict[Side, NDArray[np.uint8]] = field(init=False)
    bone_hu: dict[Side, float] = field(init=False)

    def __post_init__(self) -> None:
        self.masks = {side: np.zeros(self.geometry.shape, np.uint8) for side in Side}
        self.bone_hu = dict.fromkeys(Side, 0.0)

    def add(self, k: int, hu: NDArray[np.float32], inside: dict[Side, NDArray[np.bool_]]) -> None:
        """Add slice `k`: noise-free HU and femur masks `(y, x)`."""
        for side in set(Side) - self.patient.replaced:
            mask = inside[side] & self.shown
            self.masks[side][k] = mask
            self.bone_hu[side] += float(hu[mask].sum())

    def write(self, folder: Path, position: Position) -> None:
        """Write masks in stored order and `truth.json`; densities in mg/cm3 of the rods' material, volumes in mL.

        A side that has a prosthesis or is outside the image has no mask.
        """
        folder.mkdir(exist_ok=True)
        table = self.patient.table
        slope, intercept = table.line
        grid = stored_grid(self.geometry, position)
        for side, mask in self.masks.items():
            if mask.any():
                sitk.WriteImage(image_on(grid, stored(mask, position)), str(folder / f"{side}.nii.gz"))
        content = {
            "femora": {str(side): self._femur(side) for side in Side},
            "calibration": {
                "equivalent_material": MATERIAL_NAMES[table.model.material],
                "slope_hu_per_mg_cm3": round(slope, 6),
                "intercept_hu": round(intercept, 6),
                "rods": table.rods(),
            },
            "note": "synthetic patient, for investigational use",
        }
        (folder / "truth.json").write_text(json.dumps(content, indent=2) + "\n")

    def _femur(self, side: Side) -> dict[str, Any]:
        count = int(self.masks[side].sum())
        if side in self.patient.replaced or not count:
            return {"state": "replaced" if side in self.patient.replaced else "outside"}
        table = self.patient.table
        density = (self.bone_hu[side] / count - table.intercept_hu) / table.slope_hu_per_mg_cm3
        volume_ml = count * self.geometry.voxel_volume_mm3 / 1000
        share = proximal_share(self.patient.femurs[side], self.geometry, self.shown)
        return {
            "state": "whole" if share > 0.999 else "cut",
            "proximal_share": round(share, 4),
            "volume_ml": round(volume_ml, 3),
            "integral_vbmd_mg_cm3": round(density, 3),
            "bmc_g": round(density * volume_ml / 1000, 4),
        }


def image_on(grid: Geometry, values: NDArray[np.generic]) -> sitk.Image:
    """Return `values` `(z, y, x)` as an image on a grid with perpendicular axes."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(values))
    image.SetSpacing(grid.spacing[::-1])
    image.SetDirection((grid.affine[:3, :3] / grid.spacing)[:, ::-1].ravel())
    image.SetOrigin(tuple(grid.affine[:3, 3]))
    return image
