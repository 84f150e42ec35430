"""Small CT volumes with a calibration phantom under a simple body, on any grid, with rods at chosen places."""

from dataclasses import dataclass, field, replace

import numpy as np

from segmenter.density.placement import Placement
from segmenter.density.settings import DensitySettings, PhantomSettings
from segmenter.density.template import Template
from segmenter.synth.calibration_phantom_models import MODELS, PhantomModel
from segmenter.volume.geometry import Geometry

MIDDLE_MM = (4.0, 70.0)  # LPS x and y of the row's middle at height 0
BODY_MM = (150.0, 55.0)  # half axes


def phantom_settings(model: PhantomModel, **changes) -> PhantomSettings:
    """Return the settings that fit a drawn phantom."""
    content = {
        "name": model.name,
        "serial": "T1",
        "certificate_date": "2026-01-01",
        "equivalent_material": model.material,
        "rod_diameter_mm": 2 * model.rod_radius_mm,
        "rod_spacing_mm": model.pitch_mm,
        "rods": [
            {"density_mg_cm3": rod.density_mg_cm3}
            | ({} if rod.water_mg_cm3 is None else {"water_mg_cm3": rod.water_mg_cm3})
            for rod in model.rods
        ],
    }
    return PhantomSettings(**content | changes)


def settings_for(*names: str, mode: str = "auto") -> DensitySettings:
    """Return settings with some of the drawn phantoms."""
    return DensitySettings(mode=mode, phantoms=tuple(phantom_settings(MODELS[name]) for name in names))


@dataclass(frozen=True)
class Scene:
    """The content of the scan. HU = slope * density + intercept; hide: numbers of rods drawn as slab.

    prone: the phantom lies before the body. metal: (number of a rod, low z, high z) where a streak spoils it, mm.
    shade: HU that the field falls by from the middle of the row to its ends.
    """

    model: PhantomModel = MODELS["slab"]
    slope: float = 1.3
    intercept: float = -3.0
    noise_hu: float = 12.0
    tilt: tuple[float, float] = (0.0, 0.0)
    turn_deg: float = 0.0
    scale: float = 1.0
    flipped: bool = False
    prone: bool = False
    hide: tuple[int, ...] = ()
    metal: tuple[int, float, float] | None = None
    shade: float = 0.0
    with_rods: bool = True
    seed: int = 1
    middle: tuple[float, float] = field(default=MIDDLE_MM)

    def placement(self) -> Placement:
        """Return where the rods are."""
        x, y = self.middle
        at = np.array([x, -y if self.prone else y])
        return Placement(at, np.array(self.tilt), self.turn_deg, self.scale, self.flipped, -1e4, 1e4)

    def hu(self) -> np.ndarray:
        """Return the rods' HU in the order of the settings."""
        return np.array([rod.hu(self.slope, self.intercept) for rod in self.model.rods])

    def draw(self, geometry: Geometry) -> np.ndarray:
        """Return HU `(z, y, x)`, int16."""
        grid = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), axis=-1)
        place = geometry.to_patient(grid)
        x, y, z = np.moveaxis(place, -1, 0)
        hu = np.full(geometry.shape, -1000.0)
        body = np.hypot(x / BODY_MM[0], y / BODY_MM[1])
        hu[body < 1] = -95
        hu[body < 0.85] = 50
        for side in (-80, 80):
            hu[np.hypot(x - side, y) < 20] = 700
            hu[np.hypot(x - side, y) < 15] = 180
        if self.with_rods:
            self._phantom(hu, geometry, (x, y, z), place)
        away = (-y if self.prone else y) - self.middle[1] - self.model.thickness_mm / 2 - 3
        hu[(away > 0) & (away < 20)] = -930
        hu[(away > 0) & (away < 3)] = -150
        hu += np.random.default_rng(self.seed).normal(0, self.noise_hu, hu.shape)
        return np.clip(np.rint(hu), -1024, 3071).astype(np.int16)

    def _phantom(self, hu, geometry, coordinates, place) -> None:
        template = Template.of(phantom_settings(self.model))
        placed = self.placement()
        pixel = np.cbrt(geometry.voxel_volume_mm3)
        turn = np.radians(self.turn_deg)
        x, y, z = coordinates
        dx = x - placed.middle[0] - self.tilt[0] * z
        dy = y - placed.middle[1] - self.tilt[1] * z
        across, deep = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
        shade = self.shade * (across / self.model.half_width_mm) ** 2
        slab = (np.abs(across) < self.model.half_width_mm) & (np.abs(deep) < self.model.thickness_mm / 2)
        hu[slab] = (self.intercept + 5 - shade)[slab]
        order = range(len(self.model.rods))
        for number, point in zip(reversed(order) if self.flipped else order, placed.axes(template), strict=True):
            if number in self.hide:
                continue
            away = place - point
            distance = np.linalg.norm(away - (away @ placed.direction)[..., None] * placed.direction, axis=-1)
            share = np.clip(0.5 - (distance - self.model.rod_radius_mm) / pixel, 0, 1)
            value = self.hu()[number] - shade
            hu += share * (value - hu)
            if self.metal and self.metal[0] == number:
                spoilt = (distance < 15) & (z > self.metal[1]) & (z < self.metal[2])
                hu[spoilt] += 400 * np.sin(x[spoilt])


AXIAL = Geometry.axial((32, 130, 130), (3.0, 1.7, 1.7), (-108.0, -110.0, -48.0))


def turned(geometry: Geometry, rotation: np.ndarray, shape=None, spacing=None) -> Geometry:
    """Return a grid with rotated axes (LPS) about the old one's middle; shape and spacing `(z, y, x)` of the new."""
    shape, spacing = shape or geometry.shape, np.array(spacing or geometry.spacing)
    affine = np.eye(4)
    plain = np.diag(spacing[::-1])[:, ::-1]
    affine[:3, :3] = rotation @ plain
    middle = geometry.to_patient((np.array(geometry.shape) - 1) / 2)
    affine[:3, 3] = middle - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Geometry(tuple(shape), affine)


def sheared(geometry: Geometry, degrees: float) -> Geometry:
    """Return the grid of a scan with gantry tilt: slices lean, and are stacked along the table."""
    affine = geometry.affine.copy()
    angle = np.radians(degrees)
    affine[:3, 1] = np.array([0, np.cos(angle), np.sin(angle)]) * geometry.spacing[1]
    return replace(geometry, affine=affine)
