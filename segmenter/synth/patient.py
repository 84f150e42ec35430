"""A synthetic patient: tissues, femurs and everything else in it, rendered as noise-free HU on any grid."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from segmenter.synth.atlas import FloatArray, Tissue
from segmenter.synth.calibration_phantom import CalibrationPhantom
from segmenter.synth.femur_bone import BoneAt, cortex_hu, cortex_thickness, trabecular_hu
from segmenter.synth.femur_field import FemurField
from segmenter.synth.inclusions import Capsule, Place, draw_all
from segmenter.synth.layers import FAR_MM, FloatVolume, Layer, blend, coordinates, smoothstep
from segmenter.synth.tissues import Tissues
from segmenter.volume.femur import Side
from segmenter.volume.geometry import Geometry

AIR_HU = -1000.0
CT_NUMBERS = (-1024.0, 3071.0)  # 12 bits, as scanners store them
PROXIMAL_DEPTH_MM = 105.0  # head to just below the lesser trochanter, on a femur of mean size


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
    """Everything that makes one patient; `sampling.sample_patient` draws one. replaced: sides with a hip prosthesis."""

    sex: str
    shape: FloatArray
    tissues: Tissues
    soft: Mapping[Tissue, Layer]
    femurs: Mapping[Side, FemurField]
    noise: tuple[Layer, ...]
    low: FloatArray
    high: FloatArray
    table: CalibrationPhantom
    capsules: tuple[Capsule, ...] = ()
    replaced: frozenset[Side] = frozenset()
    artefact: Layer | None = field(default=None)

    def render(self, geometry: Geometry) -> Rendering:
        """Return the patient on a grid; edges are ramps of one voxel, so a voxel holds its part of every tissue."""
        ramp = float(np.cbrt(geometry.voxel_volume_mm3))
        coarse, fine = (layer.on(geometry) for layer in self.noise)
        hu = self._soft_tissue(geometry, ramp, coarse, fine)
        distance = {s: Layer(f.distance, f.geometry, FAR_MM).on(geometry) for s, f in self.femurs.items()}
        depth = {s: Layer(f.depth, f.geometry).on(geometry) for s, f in self.femurs.items()}
        draw_all(self.capsules, Place.SOFT, hu, geometry, ramp)
        pelvis = self._hip_bones(geometry, hu, distance, ramp, (coarse, fine))
        for side, femur in self.femurs.items():
            self._femur(geometry, hu, femur, (distance[side], depth[side]), ramp, fine)
        bone = np.minimum.reduce([pelvis, *distance.values()])
        draw_all(self.capsules, Place.BONE, hu, geometry, ramp, np.clip(-bone / ramp, 0, 1))
        draw_all(self.capsules, Place.OUTSIDE, hu, geometry, ramp, (hu < -500).astype(np.float32))
        self.table.draw(hu, geometry)
        if self.artefact is not None:
            hu += self.artefact.on(geometry)
        draw_all(self.capsules, Place.METAL, hu, geometry, ramp)
        return Rendering(np.clip(hu, *CT_NUMBERS), distance, depth)

    def _soft_tissue(self, geometry: Geometry, ramp: float, coarse: FloatVolume, fine: FloatVolume) -> FloatVolume:
        t = self.tissues
        hu = np.full(geometry.shape, AIR_HU, np.float32)
        skin = self.soft[Tissue.AIR].on(geometry)
        blend(hu, t.fat + 12 * coarse, skin, ramp)
        marbled = (t.muscle + np.where(coarse > t.marbling, t.fat - t.muscle, 0.0) + 10 * fine).astype(np.float32)
        blend(hu, marbled, self.soft[Tissue.MUSCLE].on(geometry), ramp)
        content = np.select([coarse > t.gas, coarse > t.gas - 0.5, coarse < -0.2], [-900.0, t.bowel, t.fat], t.organ)
        cavity = np.minimum(self.soft[Tissue.CAVITY].on(geometry), self._abdomen(geometry, skin))
        blend(hu, (content + 8 * fine).astype(np.float32), cavity, ramp)
        blend(hu, np.float32(t.muscle - 20), np.where(skin < 0, -skin - 2.0, FAR_MM), ramp, where=skin < 3)
        return hu

    def _abdomen(self, geometry: Geometry, skin: FloatVolume) -> FloatVolume:
        """Return a signed distance to the belly above the hips, which the label maps leave empty."""
        top = max(femur.landmarks.head_centre[2] for femur in self.femurs.values())
        _, _, height = coordinates(geometry)
        above = (top + 60.0 - height).astype(np.float32)
        belly: FloatVolume = np.maximum(skin + np.float32(self.tissues.wall_mm), above)
        return belly

    def _hip_bones(
        self,
        geometry: Geometry,
        hu: FloatVolume,
        femurs: Mapping[Side, FloatVolume],
        ramp: float,
        noise: tuple[FloatVolume, FloatVolume],
    ) -> FloatVolume:
        """Draw pelvis, sacrum and spine and clear the joint space; returns the signed distance to these bones."""
        t = self.tissues
        coarse, fine = noise
        femur = np.minimum.reduce(list(femurs.values()))
        whole = np.minimum(self.soft[Tissue.HIP_BONE].on(geometry), self.soft[Tissue.SPINE].on(geometry))
        # Cartilage is uneven: here and there the bones all but touch, as they do in a flexed hip.
        joint = t.joint_mm * (1 + 0.3 * np.clip(coarse, -2.2, 1.5)).astype(np.float32)
        whole = whole - self._socket(geometry, femur - joint)
        bone: FloatVolume = np.maximum(whole, joint - femur)
        blend(hu, np.float32(t.joint), np.maximum(femur - joint, whole - 1.5), ramp)  # cartilage and fluid
        roof = np.exp(-np.maximum(femur - joint, 0) / 4.0)  # the weight-bearing bone under the cartilage
        inner = t.pelvis_inner * (1 + 0.6 * t.texture * fine) + 350 * t.dome * roof * (
            0.6 + 0.4 * np.clip(coarse, -1, 1)
        )
        blend(hu, np.float32(t.pelvis_cortex), bone, ramp)
        blend(hu, inner.astype(np.float32), bone + t.pelvis_cortex_mm * (1 + 0.5 * t.dome * roof), ramp)
        return bone

    def _socket(self, geometry: Geometry, gap: FloatVolume) -> FloatVolume:
        """Return by how many mm the pelvis is thickened towards the heads, so that the roof fits them.

        The label maps end some millimetres from the cartilage and their roofs are flat; a real one is a sphere about
        the head. gap: distance from the cartilage, mm.
        """
        grown = np.zeros(geometry.shape, np.float32)
        near = 1 - smoothstep((gap - 3.0) / 6.0)
        x, y, z = coordinates(geometry)
        for femur in self.femurs.values():
            centre = femur.landmarks.head_centre.astype(np.float32)
            away = np.sqrt((x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2)
            above = smoothstep(((z - centre[2]) / np.maximum(away, 1.0) + 0.1) / 0.5)
            grown += near * above * (away < 2 * femur.landmarks.head_radius) * np.float32(self.tissues.socket_mm)
        return grown

    def _femur(
        self,
        geometry: Geometry,
        hu: FloatVolume,
        femur: FemurField,
        fields: tuple[FloatVolume, FloatVolume],
        ramp: float,
        fine: FloatVolume,
    ) -> None:
        distance, depth = fields
        near = ndimage.find_objects((distance < 4).astype(np.uint8))
        if not near:
            return
        box = near[0]
        d, deep, view = distance[box], depth[box], hu[box]
        grid = np.stack(np.meshgrid(*(np.arange(s.start, s.stop) for s in box), indexing="ij"), axis=-1)
        at = BoneAt(geometry.to_patient(grid).astype(np.float32), d, deep, fine[box])
        cortex_mm = cortex_thickness(self.tissues, at.position, deep, femur.landmarks)
        inner = trabecular_hu(self.tissues, at, cortex_mm, femur.landmarks)
        blend(view, cortex_hu(self.tissues, deep), d, ramp)
        blend(view, inner, d + cortex_mm, ramp)
