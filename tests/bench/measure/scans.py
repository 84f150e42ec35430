"""Simulated scans of one hip of synthetic patients, with the patient they were made from."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmenter.synth.cohort import family_shape
from segmenter.synth.layers import FAR_MM, Layer
from segmenter.synth.patient import Patient, Rendering
from segmenter.synth.sampling import PatientOptions, sample_patient
from segmenter.synth.scanner import Protocol, noise, reconstructed
from segmenter.volume.femur import Side
from segmenter.volume.geometry import Geometry

SPACINGS_MM = ((0.6, 0.6, 0.6), (1.0, 0.75, 0.75), (1.5, 0.9, 0.9), (2.5, 0.8, 0.8), (3.0, 0.7, 0.7), (5.0, 0.95, 0.95))
LAYER_MM = 1.0  # a slice is the mean of layers no thicker than this
TRUTH_MM = 0.4
AROUND_MM = 12.0
BELOW_HEAD_MM = 150.0


@dataclass(frozen=True, eq=False)
class Hip:
    """A scan of one hip: HU `(z, y, x)` with noise on `geometry`; `layers`: the patient without noise, finer in z."""

    patient: Patient
    side: Side
    geometry: Geometry
    hu: NDArray[np.int16]
    layers: Rendering
    layer_grid: Geometry

    @property
    def truth(self) -> NDArray[np.bool_]:
        """The voxels whose centre is inside the femur."""
        count = self.layer_grid.shape[0] // self.geometry.shape[0]
        distance = self.layers.distance[self.side].reshape(self.geometry.shape[0], count, *self.geometry.shape[1:])
        inner = slice((count - 1) // 2, count // 2 + 1)
        inside: NDArray[np.bool_] = distance[:, inner].mean(axis=1) < 0
        return inside

    def true_volume_ml(self) -> float:
        """The femur's volume within the scan, from its distance field on a grid much finer than any scan."""
        field = self.patient.femurs[self.side]
        ends = self.geometry.to_patient(np.array([[-0.5] * 3, np.array(self.geometry.shape) - 0.5]))
        size = np.round((ends[1] - ends[0])[::-1] / TRUTH_MM).astype(int)
        step = (ends[1] - ends[0])[::-1] / size
        inside = 0
        for first in range(0, size[0], 64):
            part = (min(64, int(size[0]) - first), int(size[1]), int(size[2]))
            low = ends[0] + step[::-1] / 2 + np.array([0.0, 0.0, first * step[0]])
            grid = Geometry.axial(part, (step[0], step[1], step[2]), (low[0], low[1], low[2]))
            inside += int((Layer(field.distance, field.geometry, FAR_MM).on(grid) < 0).sum())
        return float(inside * step.prod() / 1000)


def hips(count: int, seed: int) -> Iterator[Hip]:
    """Yield hips of `count` patients from families not used in training, each scanned in two ways."""
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        patient = sample_patient(rng, PatientOptions(shape=family_shape(rng, number), metal=False, screws=False))
        side = list(Side)[number % 2]
        for turn in (number, number + 3):
            yield scanned(rng, patient, side, SPACINGS_MM[turn % len(SPACINGS_MM)])


def scanned(rng: np.random.Generator, patient: Patient, side: Side, spacing: tuple[float, float, float]) -> Hip:
    """Return one scan of one hip with the complete upper femur."""
    femur = patient.femurs[side]
    points = femur.geometry.to_patient(np.argwhere(femur.distance < 0))
    low, high = points.min(axis=0) - AROUND_MM, points.max(axis=0) + AROUND_MM
    low[2] = max(low[2], femur.landmarks.head_centre[2] - BELOW_HEAD_MM)
    low += rng.uniform(0, 1, 3) * spacing[::-1]  # the grid has a random offset to the bone
    shape = np.ceil((high - low)[::-1] / spacing).astype(int)
    geometry = Geometry.axial((int(shape[0]), int(shape[1]), int(shape[2])), spacing, (low[0], low[1], low[2]))
    count = max(1, round(spacing[0] / LAYER_MM))
    thin = spacing[0] / count
    origin = (float(low[0]), float(low[1]), float(low[2] - (count - 1) / 2 * thin))
    grid = Geometry.axial((geometry.shape[0] * count, *geometry.shape[1:]), (thin, *spacing[1:]), origin)
    layers = patient.render(grid)
    protocol = Protocol(0.5, 0.0, spacing[0], spacing[0], float(rng.uniform(6, 25)), 0.6, 0.0, 1.0, 0.0)
    slices = layers.hu.reshape(geometry.shape[0], count, *geometry.shape[1:]).mean(axis=1)
    image = reconstructed(slices, spacing, protocol) + noise(slices.shape, spacing, protocol, rng)
    return Hip(patient, side, geometry, np.rint(image).astype(np.int16), layers, grid)
