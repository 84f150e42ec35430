"""The pool: noise-free synthetic patients rendered once on both training grids; each epoch only crops and blurs.

One folder per patient: `coarse.npz` (whole body, 4 mm, classes of `CoarseClass`), `left.npz` and `right.npz` (one hip,
1.5 mm, right hips mirrored to look left); each holds `hu` int16 and `label` uint8, `(z, y, x)`. A hip's label is the
share of the voxel inside the femur, 0..255. A hip with a prosthesis has no file, and its bone counts as shaft only.
"""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segmenter.synth.cohort import training_shape
from segmenter.synth.patient import PROXIMAL_DEPTH_MM, Patient
from segmenter.synth.sampling import PatientOptions, sample_patient
from segmenter.vnet.coarse import CoarseClass
from segmenter.vnet.grids import COARSE_MM, FINE_MARGIN_MM, FINE_MM
from segmenter.volume.femur import Side
from segmenter.volume.geometry import box_geometry

AROUND_MM = 24.0
WEAR = 0.5  # of the hips are arthritic


def make_pool(
    folder: Path, count: int, seed: int, workers: int = 1, on_done: Callable[[int], None] = lambda _: None
) -> list[Path]:
    """Render `count` patients below `folder`; patients that are already there are kept. Reproducible by seed."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"patient-{seed}-{n:04d}" for n in range(count)]
    missing = [(n, path) for n, path in enumerate(paths) if not path.exists()]
    with ProcessPoolExecutor(workers) as executor:
        for done, _ in enumerate(executor.map(partial(_make_patient, seed), missing), 1):
            on_done(len(paths) - len(missing) + done)
    return paths


def _make_patient(seed: int, task: tuple[int, Path]) -> None:
    number, path = task
    rng = np.random.default_rng([seed, number])
    patient = sample_patient(rng, PatientOptions(shape=training_shape(rng), wear=WEAR))
    temporary = path.with_name(path.name + ".part")
    temporary.mkdir(exist_ok=True)
    save(temporary / "coarse.npz", *coarse_volume(patient))
    for side in set(Side) - patient.replaced:
        save(temporary / f"{side}.npz", *hip_volume(patient, side))
    temporary.rename(path)


def coarse_volume(patient: Patient) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return HU and classes of the whole body on the coarse grid."""
    geometry = box_geometry(patient.low - AROUND_MM, patient.high + AROUND_MM, COARSE_MM)
    rendering = patient.render(geometry)
    label = np.zeros(geometry.shape, np.uint8)
    for side, distance in rendering.distance.items():
        proximal = (rendering.depth[side] < PROXIMAL_DEPTH_MM) & (side not in patient.replaced)
        label[(distance < 0) & proximal] = CoarseClass.proximal(side)
        label[(distance < 0) & ~proximal] = CoarseClass.shaft(side)
    return rendering.hu, label


def hip_volume(patient: Patient, side: Side) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return HU and the share of each voxel inside the femur around one hip on the fine grid, as a left hip."""
    femur = patient.femurs[side]
    inside = np.argwhere(femur.distance < 0)
    points = femur.geometry.to_patient(inside)
    margin = FINE_MARGIN_MM + 10.0
    geometry = box_geometry(points.min(axis=0) - margin, points.max(axis=0) + margin, FINE_MM)
    rendering = patient.render(geometry)
    label = np.round(255 * np.clip(0.5 - rendering.distance[side] / FINE_MM, 0, 1)).astype(np.uint8)
    flip = -1 if side is Side.RIGHT else 1
    return rendering.hu[:, :, ::flip], label[:, :, ::flip]


def save(path: Path, hu: NDArray[np.float32], label: NDArray[np.uint8]) -> None:
    """Write one volume."""
    np.savez(path, hu=np.round(hu).astype(np.int16), label=label)
