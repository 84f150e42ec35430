"""The evaluation of the variants of `ablation.py`: hard Dice and volume of held-out hips, alone and in full scans."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segmenter.synth.cohort import family_shape
from segmenter.synth.sampling import PatientOptions, sample_patient
from segmenter.synth.scanner import Protocol, scan
from segmenter.vnet.coarse import CoarseClass
from segmenter.vnet.fine import segment_femurs
from segmenter.vnet.grids import COARSE_MM, FINE_MM
from segmenter.vnet.network import VNet, probabilities
from segmenter.vnet.weights import Models, choose_device
from segmenter.volume.femur import Side
from segmenter.volume.geometry import Geometry, box_geometry
from segmenter.volume.resample import OUTSIDE_HU, reduce, resample

SCAN_MM, SCAN_ABOVE_MM, SCAN_BELOW_MM = 2.0, 50.0, 160.0  # voxel; from the hips' centres upwards and downwards

Mask = NDArray[np.bool_]
Outline = Callable[[NDArray[np.float32], Geometry], dict[Side, Mask]]


def windows(patients: list[Path], seed: int) -> Iterator[tuple[NDArray[np.float32], NDArray[np.uint8]]]:
    """Yield the complete held-out hips: HU, each scanned by its own protocol, and label shares 0..255."""
    for number, patient in enumerate(patients):
        for side in Side:
            if (path := patient / f"{side}.npz").exists():
                rng = np.random.default_rng([seed, number, side is Side.LEFT])
                with np.load(path) as content:
                    hu = scan(content["hu"].astype(np.float32), (FINE_MM,) * 3, Protocol.sample(rng), rng)
                    yield hu, content["label"]


def scans(folder: Path, count: int, seed: int) -> Iterator[tuple[NDArray[np.float32], Geometry, dict[Side, Mask]]]:
    """Yield full scans of patients from held-out families with the masks of both femurs; rendered once and kept."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = folder / f"{seed}-{number:03}.npz"
        if not path.exists():
            rng = np.random.default_rng([seed, number])
            patient = sample_patient(rng, PatientOptions(shape=family_shape(rng, number), metal=False, screws=False))
            heads = [femur.landmarks.head_centre[2] for femur in patient.femurs.values()]
            low, high = patient.low.copy(), patient.high.copy()
            low[2], high[2] = min(heads) - SCAN_BELOW_MM, max(heads) + SCAN_ABOVE_MM
            geometry = box_geometry(low, high, SCAN_MM)
            rendering = patient.render(geometry)
            hu = scan(rendering.hu, (SCAN_MM,) * 3, Protocol.sample(rng), rng)
            inside = np.stack([rendering.distance[side] < 0 for side in Side])
            np.savez_compressed(path, hu=hu, affine=geometry.affine, inside=inside)
        with np.load(path) as content:
            hu = content["hu"]
            yield hu, Geometry(hu.shape, content["affine"]), dict(zip(Side, content["inside"], strict=True))


def judge_windows(network: VNet, patients: list[Path], seed: int) -> Iterator[tuple[float, float]]:
    """Yield hard Dice and volume ratio (found / true) of every held-out hip."""
    for hu, share in windows(patients, seed):
        found = probabilities(network, hu)[1] > 0.5
        yield dice(found, share >= 128), float(found.sum() / (share.sum() / 255))


def judge_scans(outline: Outline, folder: Path, count: int, seed: int) -> Iterator[tuple[float, float]]:
    """Yield Dice and volume ratio of every femur; one that is not found counts as 0."""
    for hu, geometry, truth in scans(folder, count, seed):
        found = outline(hu, geometry)
        for side, mask in truth.items():
            answer = found.get(side, np.zeros_like(mask))
            yield dice(answer, mask), float(answer.sum() / mask.sum())


def one_stage(coarse: VNet) -> Outline:
    """Return the segmentation by the coarse network only."""

    def outline(hu: NDArray[np.float32], geometry: Geometry) -> dict[Side, Mask]:
        corners = geometry.corners()
        grid = box_geometry(corners.min(axis=0), corners.max(axis=0), COARSE_MM)
        share = probabilities(coarse, reduce(hu, geometry, grid, OUTSIDE_HU))
        femur = {side: share[CoarseClass.proximal(side)] + share[CoarseClass.shaft(side)] for side in Side}
        return {side: resample(femur[side], grid, geometry, 0.0) > 0.5 for side in Side}

    return outline


def two_stages(coarse: VNet, fine: VNet, device: str) -> Outline:
    """Return the segmentation by both networks, as in the product."""
    models = Models("ablation", "0", "", coarse, fine, choose_device(device))

    def outline(hu: NDArray[np.float32], geometry: Geometry) -> dict[Side, Mask]:
        return {femur.side: femur.mask for femur in segment_femurs(hu, geometry, models)}

    return outline


def dice(found: Mask, truth: Mask) -> float:
    """Return the overlap of two masks, 0..1."""
    return float(2 * (found & truth).sum() / max(found.sum() + truth.sum(), 1))
