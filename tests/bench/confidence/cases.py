"""The scans of the bench: hips of held-out synthetic patients, thick slices and poor scans; real hips.

A hip is rendered once in layers of 0.5 mm; thicker slices are means of layers, so that all scans of a patient show the
same bone. Noise follows the dose: the thinner the slice, the noisier.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from bench.real_hips import scans
from numpy.typing import NDArray
from scipy import ndimage

from segmenter.synth.cohort import family_shape
from segmenter.synth.poor_scans import edges_kept
from segmenter.synth.sampling import PatientOptions, sample_patient
from segmenter.synth.scanner import Protocol, noise, reconstructed
from segmenter.synth.series.framing import inside_points
from segmenter.volume.femur import Side
from segmenter.volume.geometry import Geometry, box_geometry
from segmenter.volume.resample import resample

Mask = NDArray[np.bool_]

LAYER_MM, PIXEL_MM = 0.5, 0.8
ABOVE_MM, LENGTH_MM, AROUND_MM = 30.0, 180.0, 45.0
THICKNESS_MM = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 10.0, 15.0)
NOISE_HU, NOISE_AT_MM = 12.0, 2.5  # standard deviation in a slice of that thickness, at the dose of all scans but some
REAL = ("STS_020", "STS_031", "STS_036")
SEED = 12


@dataclass(frozen=True, eq=False)
class Case:
    """One scan: HU `(z, y, x)` on `geometry`, and the one femur in it."""

    name: str
    kind: str
    volume: NDArray[Any]
    geometry: Geometry
    truth: Mask


class Hip:
    """One hip of a synthetic patient of a held-out family, in layers of 0.5 mm; every other one is arthritic."""

    def __init__(self, number: int) -> None:
        rng = np.random.default_rng([SEED, number])
        wear = float(number % 2)
        options = PatientOptions(shape=family_shape(rng, number), metal=False, screws=False, prone=False, wear=wear)
        self.number, self.patient = number, sample_patient(rng, options)
        self.side = Side.LEFT if number % 4 < 2 else Side.RIGHT

    @cached_property
    def layers(self) -> tuple[NDArray[np.float32], NDArray[np.float32], Geometry]:
        """Noise-free HU, signed distance to the surface, and the grid."""
        femur = self.patient.femurs[self.side]
        points = inside_points(femur, LENGTH_MM)
        low, high = points.min(axis=0) - AROUND_MM, points.max(axis=0) + AROUND_MM
        high[2] = points[:, 2].max() + ABOVE_MM
        low[2] = high[2] - LENGTH_MM
        box = box_geometry(low, high, PIXEL_MM)
        shape = (round(LENGTH_MM / LAYER_MM), *box.shape[1:])
        grid = Geometry.axial(shape, (LAYER_MM, PIXEL_MM, PIXEL_MM), (low[0], low[1], low[2]))
        parts = []
        for first in range(0, shape[0], 30):  # the renderer holds many layers of a grid at once
            affine = grid.affine.copy()
            affine[2, 3] += first * LAYER_MM
            rendering = self.patient.render(Geometry((min(30, shape[0] - first), *shape[1:]), affine))
            parts.append((rendering.hu, rendering.distance[self.side]))
        hu, distance = (np.concatenate(values) for values in zip(*parts, strict=True))
        return hu, distance, grid

    def scan(self, thickness_mm: float, dose: float = 1.0, blur_mm: float = 0.5) -> Case:
        """Return a scan of contiguous slices; dose: relative to that of NOISE_HU."""
        hu, distance, grid = self.layers
        layers = round(thickness_mm / LAYER_MM)
        count = len(hu) // layers
        hu, distance = (values[: count * layers].reshape(count, layers, *hu.shape[1:]) for values in (hu, distance))
        affine = grid.affine.copy()
        affine[2, 0], affine[2, 3] = thickness_mm, affine[2, 3] + (layers - 1) / 2 * LAYER_MM
        geometry = Geometry((count, *grid.shape[1:]), affine)
        sd = NOISE_HU * np.sqrt(NOISE_AT_MM / thickness_mm / dose)
        protocol = Protocol(blur_mm, 0.0, thickness_mm, thickness_mm, sd, 0.6, max(0.0, sd - 20) / 20, 1.0, 0.0)
        rng = np.random.default_rng([SEED, self.number, round(10 * thickness_mm), round(1000 * dose)])
        image = reconstructed(hu.mean(axis=1), geometry.spacing, protocol)
        image += noise(image.shape, geometry.spacing, protocol, rng)
        inner = slice((layers - 1) // 2, layers // 2 + 1)
        name = f"hip {self.number}, {thickness_mm:g} mm"
        return Case(name, "thickness", stored(image), geometry, distance[:, inner].mean(axis=1) < 0)

    def thick(self) -> Iterator[Case]:
        """Yield the scans of every slice thickness."""
        return (self.scan(mm) for mm in THICKNESS_MM)

    def poor(self) -> Iterator[Case]:
        """Yield scans of poor quality: low dose, blur, smoothing, resampling, fields of view that cut."""
        usual = self.scan(2.0)
        yield renamed(self.scan(2.0, dose=0.05), "low dose")
        yield renamed(self.scan(2.0, dose=0.01), "hardly any dose")
        yield renamed(self.scan(3.0, blur_mm=2.0), "blurred")
        yield renamed(self.scan(5.0, dose=0.1, blur_mm=1.5), "low dose, blurred, thick")
        smooth = edges_kept(self.scan(3.0, dose=0.2).volume.astype(np.float32), (3.0, PIXEL_MM, PIXEL_MM), 2.0, 150.0)
        yield Case(usual.name, "smoothed", stored(smooth), (case := self.scan(3.0)).geometry, case.truth)
        yield regridded(self.scan(3.0), 3.0)
        yield from cuts(usual)


def cuts(case: Case) -> Iterator[Case]:
    """Yield the scan cut by its field of view: through the head, behind the head, beside the shaft, below the neck."""
    inside = np.argwhere(case.truth)
    low, high = inside.min(axis=0), inside.max(axis=0)
    z, y, _ = case.geometry.spacing
    middle = inside[inside[:, 0] > high[0] - 45 / z].mean(axis=0).astype(int)
    for kind, box in {
        "head cut": np.s_[: int(high[0] - 12 / z)],
        "cut behind the head": np.s_[:, : middle[1] + int(12 / y)],
        "cut beside the shaft": np.s_[:, :, low[2] + 20 : high[2] - 20],
        "cut below the neck": np.s_[int(high[0] - 70 / z) :],
    }.items():
        yield cropped(case, box, kind)


def cropped(case: Case, box: Any, kind: str) -> Case:
    """Return the part of a scan in a box of slices."""
    box = (box,) if isinstance(box, slice) else box
    first = [at.start or 0 for at in (*box, *[slice(None)] * (3 - len(box)))]
    affine = case.geometry.affine.copy()
    affine[:3, 3] = case.geometry.to_patient(np.array(first))
    volume, truth = np.ascontiguousarray(case.volume[box]), np.ascontiguousarray(case.truth[box])
    return Case(case.name, kind, volume, Geometry(volume.shape, affine), truth)


def regridded(case: Case, step_mm: float) -> Case:
    """Return a scan as others hand it on: linearly on an isotropic grid."""
    corners = case.geometry.corners()
    grid = box_geometry(corners.min(axis=0), corners.max(axis=0) - step_mm, step_mm)
    volume = stored(resample(case.volume, case.geometry, grid, None))
    truth = resample(case.truth.astype(np.float32), case.geometry, grid, 0.0) > 0.5
    return Case(case.name, f"{step_mm:g} mm isotropic", volume, grid, truth)


def real_cases(data: Path) -> Iterator[Case]:
    """Yield the real hips that have a reference: as they are, smoothed, noisier, cut, and on grids made by others."""
    for name, volume, geometry, truth in scans(data, REAL):
        assert truth is not None, f"{name} has no reference"
        case = Case(name, "real", volume, geometry, truth)
        yield case
        yield regridded(case, 2.0)
        yield regridded(case, 3.0)
        yield regridded(case, 4.0)
        rng = np.random.default_rng(SEED)
        grain = ndimage.gaussian_filter(rng.standard_normal(volume.shape, np.float32), (0, 0.8, 0.8))
        noisy = volume + grain * (80 / grain.std())
        yield Case(name, "real, noise added", stored(noisy), geometry, truth)
        blur = ndimage.gaussian_filter(volume.astype(np.float32), [1.5 / mm for mm in geometry.spacing])
        yield Case(name, "real, blurred", stored(blur), geometry, truth)
        yield from (renamed(cut, f"real, {cut.kind}") for cut in cuts(case) if cut.truth.any())


def renamed(case: Case, kind: str) -> Case:
    """Return the case as one of another kind."""
    return Case(case.name, kind, case.volume, case.geometry, case.truth)


def stored(volume: NDArray[np.floating[Any]]) -> NDArray[np.int16]:
    """Return HU as a scanner stores them."""
    return np.clip(np.round(volume), -1024, 3071).astype(np.int16)
