"""A synthetic patient: anatomy sampled from the atlas, rendered as noise-free HU on any grid."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segmenter.femur import Side
from segmenter.geometry import Geometry
from segmenter.resample import resample
from segmenter.synth.atlas import Body, FloatArray, Tissue, load_atlas
from segmenter.synth.calibration import CalibrationPhantom
from segmenter.synth.femur_field import FAR_MM, FemurField, femur_field, place

FloatVolume = NDArray[np.float32]
AIR_HU = -1000.0
PROXIMAL_DEPTH_MM = 105.0  # head to just below the lesser trochanter, on a femur of mean size


@dataclass(frozen=True)
class Tissues:
    """HU and bone dimensions of one patient; ranges are those of CT at 100-140 kVp."""

    fat: float
    muscle: float
    organ: float
    cortex: float
    pelvis_cortex: float
    pelvis_inner: float
    head: float
    metaphysis: float
    marrow: float
    shaft_cortex_mm: float
    thin_cortex_mm: float
    joint_mm: float
    texture: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> "Tissues":
        """Draw one patient, from osteoporotic to dense: `bone` moves all bone values together."""
        bone = rng.beta(1.6, 1.6)
        around = rng.uniform
        return cls(
            fat=around(-120, -85),
            muscle=around(35, 80),
            organ=around(10, 60),
            cortex=around(1000, 1300) + 450 * bone,
            pelvis_cortex=around(450, 700) + 500 * bone,
            pelvis_inner=around(30, 120) + 200 * bone,
            head=around(90, 200) + 300 * bone,
            metaphysis=around(-30, 60) + 170 * bone,
            marrow=around(-90, 40) + 20 * bone,
            shaft_cortex_mm=around(2.8, 4.5) + 3.5 * bone,
            thin_cortex_mm=around(0.5, 0.9) + 0.9 * bone,
            joint_mm=around(2.0, 5.0),
            texture=around(0.3, 1.0),
        )


@dataclass(frozen=True, eq=False)
class Layer:
    """A field on its own grid, sampled trilinearly; `outside` is its value beyond the grid (None = nearest)."""

    values: FloatVolume
    affine: FloatArray
    outside: float | None = None

    def on(self, geometry: Geometry) -> FloatVolume:
        """Return the field on another grid, float32 `(z, y, x)`."""
        return resample(self.values, Geometry(self.values.shape, self.affine), geometry, self.outside)


@dataclass(frozen=True, eq=False)
class Rendering:
    """A patient on a grid, all `(z, y, x)`.

    hu: noise-free. distance: per side, mm to the femur's surface, negative inside. depth: mm below the top of the head.
    """

    hu: FloatVolume
    distance: Mapping[Side, FloatVolume]
    depth: Mapping[Side, FloatVolume]


@dataclass(frozen=True, eq=False)
class Patient:
    """Everything that makes one patient; build it with `sample_patient`."""

    tissues: Tissues
    soft: Mapping[Tissue, Layer]
    femora: Mapping[Side, FemurField]
    noise: tuple[Layer, ...]
    low: FloatArray
    high: FloatArray
    table: CalibrationPhantom | None = None

    def render(self, geometry: Geometry) -> Rendering:
        """Return the patient on a grid; edges are ramps of one voxel, so a voxel holds its part of every tissue."""
        ramp = float(np.cbrt(geometry.voxel_volume_mm3))
        coarse, fine = (layer.on(geometry) for layer in self.noise)
        hu = self._soft_tissue(geometry, ramp, coarse, fine)
        distance = {s: Layer(f.distance, f.geometry.affine, 30.0).on(geometry) for s, f in self.femora.items()}
        depth = {s: Layer(f.depth, f.geometry.affine).on(geometry) for s, f in self.femora.items()}
        nearest = np.minimum.reduce(list(distance.values()))
        self._hip_bones(geometry, hu, nearest, ramp, fine)
        for side, femur in self.femora.items():
            self._femur(geometry, hu, femur, (distance[side], depth[side]), ramp, fine)
        if self.table is not None:
            self.table.draw(hu, geometry)
        return Rendering(hu, distance, depth)

    def _soft_tissue(self, geometry: Geometry, ramp: float, coarse: FloatVolume, fine: FloatVolume) -> FloatVolume:
        t = self.tissues
        hu = np.full(geometry.shape, AIR_HU, np.float32)
        skin = self.soft[Tissue.AIR].on(geometry)
        blend(hu, t.fat + 12 * coarse, skin, ramp)
        marbled = (t.muscle + np.where(coarse > 1.2, t.fat - t.muscle, 0.0) + 10 * fine).astype(np.float32)
        blend(hu, marbled, self.soft[Tissue.MUSCLE].on(geometry), ramp)
        mixed = (np.select([coarse > 1.6, coarse < -0.2], [-850.0, t.fat], t.organ) + 8 * fine).astype(np.float32)
        blend(hu, mixed, self.soft[Tissue.CAVITY].on(geometry), ramp)
        blend(hu, np.float32(t.muscle - 20), np.where(skin < 0, -skin - 2.0, 30.0), ramp, where=skin < 3)
        return hu

    def _hip_bones(
        self, geometry: Geometry, hu: FloatVolume, femur: FloatVolume, ramp: float, fine: FloatVolume
    ) -> None:
        t = self.tissues
        inner = t.pelvis_inner * (1 + 0.5 * t.texture * fine)
        bone = np.minimum(self.soft[Tissue.HIP_BONE].on(geometry), self.soft[Tissue.SPINE].on(geometry))
        bone = np.maximum(bone, t.joint_mm - femur)
        blend(hu, np.float32(t.pelvis_cortex), bone, ramp)
        blend(hu, inner, bone + 1.2 + 0.6 * t.thin_cortex_mm, ramp)

    def _femur(
        self,
        geometry: Geometry,
        hu: FloatVolume,
        femur: FemurField,
        fields: tuple[FloatVolume, FloatVolume],
        ramp: float,
        fine: FloatVolume,
    ) -> None:
        t = self.tissues
        distance, depth = fields
        near = ndimage.find_objects((distance < 4).astype(np.uint8))
        if not near:
            return
        box = near[0]
        d, deep, view = distance[box], depth[box], hu[box]
        shaft = smoothstep((deep - 65) / 60)
        cortex_mm = t.thin_cortex_mm + (t.shaft_cortex_mm - t.thin_cortex_mm) * shaft
        corner = geometry.to_patient(np.array([s.start for s in box]))
        grid = np.indices(d.shape, np.float32).reshape(3, -1)
        offset = (geometry.affine[:3, :3] @ grid).T + corner - femur.head_centre
        radius = (np.linalg.norm(offset, axis=1) / femur.head_radius).reshape(d.shape)
        inner = t.marrow + (t.metaphysis - t.marrow) * (1 - smoothstep((deep - 60) / 70))
        inner += (t.head - t.metaphysis) * np.exp(-0.7 * radius**2)
        inner += 0.5 * max(t.head, 60.0) * np.exp((d + cortex_mm) / 2.5) * (1 - shaft)
        inner += t.texture * 0.35 * max(t.head, 60.0) * (1 - shaft) * fine[box]
        wall = t.cortex * (0.55 + 0.45 * shaft)
        blend(view, wall.astype(np.float32), d, ramp)
        blend(view, inner.astype(np.float32), d + cortex_mm, ramp)


def blend(
    hu: FloatVolume,
    value: FloatVolume | np.float32,
    distance: FloatVolume,
    ramp: float,
    where: NDArray[np.bool_] | None = None,
) -> None:
    """Lay `value` over `hu` in place, wherever the signed distance is inside, with a linear edge `ramp` mm wide."""
    share = np.clip(0.5 - distance / ramp, 0, 1)
    if where is not None:
        share *= where
    hu += share * (value - hu)


def smoothstep(x: FloatVolume) -> FloatVolume:
    """Return 0 below 0, 1 above 1, a smooth cubic between."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def signed_distance(inside: NDArray[np.bool_], spacing: tuple[float, float, float]) -> FloatVolume:
    """Return the smoothed signed distance to a tissue's border in mm, negative inside; far from it about `FAR_MM`."""
    (box,) = ndimage.find_objects(inside.astype(np.uint8))
    margin = [int(FAR_MM / step) for step in spacing]
    near = tuple(slice(max(s.start - m, 0), s.stop + m) for s, m in zip(box, margin, strict=True))
    outer = ndimage.distance_transform_edt(~inside[near], sampling=spacing)
    inner = ndimage.distance_transform_edt(inside[near], sampling=spacing)
    half = 0.5 * min(spacing)  # distances are between voxel centres; the border lies half a voxel nearer
    distance = np.full(inside.shape, FAR_MM, np.float32)
    distance[near] = ndimage.gaussian_filter(np.where(inside[near], half - inner, outer - half), 0.6)
    return distance


def noise_layer(rng: np.random.Generator, pitch_mm: float, low: FloatArray, high: FloatArray) -> Layer:
    """Return a smooth random field of unit variance with the given grain."""
    nodes = np.ceil((high - low) / pitch_mm).astype(int)[::-1] + 2
    values = rng.standard_normal(nodes).astype(np.float32) * 1.4
    affine = Geometry.axial((1, 1, 1), (pitch_mm,) * 3, tuple(low.tolist())).affine
    return Layer(values, affine)


def sample_patient(rng: np.random.Generator, body: Body | None = None, *, with_table: bool = True) -> Patient:
    """Draw one patient: a pelvis of the atlas, stretched and perhaps mirrored, two new femora, tissues, a table."""
    atlas = load_atlas()
    body = body or atlas.bodies[rng.integers(len(atlas.bodies))]
    stretch = rng.uniform(0.9, 1.1) * np.array([*rng.uniform(0.94, 1.06, 2), rng.uniform(0.95, 1.05)])  # x, y, z
    mirror = np.array([rng.choice([-1.0, 1.0]), 1.0, 1.0])
    middle = body.origin + np.array(body.spacing[::-1]) * np.array(body.tissue.shape[::-1]) / 2
    to_patient = np.eye(4)
    to_patient[:3, :3] = np.diag(stretch * mirror)
    to_patient[:3, 3] = -to_patient[:3, :3] @ middle + rng.uniform(-15, 15, 3)
    affine = to_patient @ Geometry.axial(body.tissue.shape, body.spacing, tuple(body.origin)).affine
    # A stretch of some percent makes a distance wrong by as much, which matters to no border.
    soft = {t: Layer(values, affine) for t, values in tissue_distances(body.name).items()}
    extent = Geometry(body.tissue.shape, affine).corners()
    low, high = extent.min(axis=0), extent.max(axis=0)
    femora = sample_femora(rng, body, to_patient, low[2])
    noise = (
        noise_layer(rng, rng.uniform(7, 14), low - 20, high + 20),
        noise_layer(rng, rng.uniform(2.2, 3.5), low - 20, high + 20),
    )
    table = None
    if with_table:
        skin = soft[Tissue.AIR]
        back = float(skin.affine[1] @ np.array([0, np.where(skin.values < 0)[1].max(), 0, 1]))
        table = CalibrationPhantom.sample(rng, top_mm=back + 4.0, low_mm=float(low[2]), high_mm=float(high[2]))
    return Patient(Tissues.sample(rng), soft, femora, noise, low, high, table)


@cache
def tissue_distances(name: str) -> dict[Tissue, FloatVolume]:
    """Return signed distances (mm) of every tissue of one body; the key AIR holds the distance to the skin."""
    body = next(b for b in load_atlas().bodies if b.name == name)
    maps = {Tissue.AIR: signed_distance(body.tissue != Tissue.AIR, body.spacing)}
    for tissue in (Tissue.MUSCLE, Tissue.CAVITY, Tissue.HIP_BONE, Tissue.SPINE):
        maps[tissue] = signed_distance(body.tissue == tissue, body.spacing)
    return maps


def sample_femora(
    rng: np.random.Generator, body: Body, to_patient: FloatArray, lowest_mm: float
) -> dict[Side, FemurField]:
    """Return one new femur per side, alike but not equal, in the body's own hips with the legs moved a little."""
    shape = load_atlas().femur
    common = rng.normal(0, 0.9, len(shape.modes))
    mirrored = to_patient[0, 0] < 0
    femora = {}
    for side, pose in ((Side.LEFT, body.left), (Side.RIGHT, body.right)):
        weights = common + rng.normal(0, 0.25, len(shape.modes))
        swing = np.radians(rng.normal(0, [4.0, 3.0, 8.0]))  # flexion, adduction, rotation about x, y, z
        vertices = place(shape, pose, weights, swing, rng.uniform(0.97, 1.02))
        if side is Side.RIGHT:
            vertices = vertices * [-1, 1, 1]
        vertices = vertices @ to_patient[:3, :3].T + to_patient[:3, 3]
        other = Side.RIGHT if side is Side.LEFT else Side.LEFT
        femora[other if mirrored else side] = femur_field(vertices, shape, lowest_mm)
    return femora
