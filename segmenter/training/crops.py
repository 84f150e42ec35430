"""Training examples: crops of the pool's volumes, scanned by a random protocol, cut by a random field of view."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.utils.data import IterableDataset

from segmenter.synth.poor_scans import poor_scan
from segmenter.synth.scanner import Protocol, field_of_view, scan
from segmenter.training.real_crops import real_crop
from segmenter.vnet.coarse import CoarseClass
from segmenter.vnet.grids import COARSE_MM, FINE_MM, normalise
from segmenter.volume.femur import Side
from segmenter.volume.resample import OUTSIDE_HU

POOR = 0.5  # of the fine network's examples
HEADS, HEAD_MM = 0.5, 40.0  # of them lie about a head, so far from its top at most
UPSIDE_DOWN, SHORT = 0.15, 0.4  # of the coarse network's examples
SHORT_MM = (60.0, 180.0)  # height of a scan of the hips alone

Example = tuple[NDArray[np.float32], NDArray[np.uint8]]


@dataclass(frozen=True)
class StageOptions:
    """One stage's examples: which files of the pool, their grid, the crop's shape in voxels `(z, y, x)`."""

    files: tuple[str, ...]
    step_mm: float
    crop: tuple[int, int, int]


STAGES = {
    "coarse": StageOptions(("coarse",), COARSE_MM, (80, 64, 96)),
    "fine": StageOptions(("left", "right"), FINE_MM, (72, 72, 72)),
}


class Crops(IterableDataset[tuple[Tensor, Tensor]]):
    """An endless stream of `(1, z, y, x)` images and `(z, y, x)` targets; example n depends on the seed and n only.

    Targets are class numbers on the coarse grid (uint8), shares of the voxel inside the femur on the fine one.
    """

    def __init__(self, patients: list[Path], options: StageOptions, seed: int, start: int = 0) -> None:
        files = (patient / f"{name}.npz" for patient in patients for name in options.files)
        self.volumes = [path for path in files if path.exists()]  # a hip with a prosthesis has none
        self.options, self.seed, self.start = options, seed, start

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        worker = torch.utils.data.get_worker_info()
        number, stride = (self.start + worker.id, worker.num_workers) if worker else (self.start, 1)
        while True:
            rng = np.random.default_rng([self.seed, number])
            path = self.volumes[rng.integers(len(self.volumes))]
            image, label = example(path, self.options, rng)
            target = label if self.options.files == ("coarse",) else label.astype(np.float32) / 255
            yield torch.from_numpy(normalise(image)[None]), torch.from_numpy(target)
            number += stride


def example(path: Path, options: StageOptions, rng: np.random.Generator) -> Example:
    """Return one scanned crop as HU and its label."""
    with np.load(path) as content:
        if "scanned" in content:
            image, label = real_crop(content["hu"], content["label"], options.crop, rng)
            return cut(image, label, rng) if rng.random() < 0.35 else (image, label)
        reach = HEAD_MM / options.step_mm if options.files != ("coarse",) and rng.random() < HEADS else None
        hu, label = random_crop(content["hu"], content["label"], options.crop, rng, reach)
    spacing = (options.step_mm,) * 3
    image = hu.astype(np.float32)
    if options.files != ("coarse",):
        image = rebalanced(image, label, rng)
    elif rng.random() < UPSIDE_DOWN:
        image, label = upside_down(image, label)
    elif rng.random() < SHORT:
        image, label = shortened(image, label, rng)
    if options.files != ("coarse",) and rng.random() < POOR:
        image = poor_scan(image, spacing, rng)
    else:
        image = scan(image, spacing, Protocol.sample(rng), rng)
    if rng.random() < 0.35:
        image, label = cut(image, label, rng)
    return image, label


def upside_down(image: NDArray[np.float32], label: NDArray[np.uint8]) -> Example:
    """Return a body on its head, in which no hip is to be found: its bones count as shafts.

    A shaft that widens towards the feet ends in a knee; this teaches the coarse network that it is no trochanter.
    """
    shafts = np.arange(len(CoarseClass), dtype=np.uint8)
    for side in Side:
        shafts[CoarseClass.proximal(side)] = CoarseClass.shaft(side)
    return np.ascontiguousarray(image[::-1]), shafts[label[::-1]]


def shortened(image: NDArray[np.float32], label: NDArray[np.uint8], rng: np.random.Generator) -> Example:
    """Return a scan that holds little more than the hips, as most scans made for them do."""
    hips = np.argwhere((label == CoarseClass.LEFT_PROXIMAL) | (label == CoarseClass.RIGHT_PROXIMAL))
    centre = hips[rng.integers(len(hips)), 0] if len(hips) else rng.integers(len(label))
    half = rng.uniform(*SHORT_MM) / COARSE_MM / 2
    low, high = (int(np.clip(centre + side * half, 0, len(label))) for side in (-1, 1))
    return framed(image, label, np.array([low, 0, 0]), np.array([high, *label.shape[1:]]))


def rebalanced(image: NDArray[np.float32], label: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the hip with spongy bone of another density, drawn apart for the femur and for the bones around it.

    Which of the two is brighter says nothing of where one ends: heads of 100 to 600 HU lie under roofs of 100 to 800.
    Nor need a head be equally dense: in two of five, bright trabeculae end in fatty marrow long before the cortex.
    """
    inside = label.astype(np.float32) / 255
    field = ndimage.gaussian_filter(rng.standard_normal(image.shape, np.float32), rng.uniform(4, 10))
    field = 1 + rng.uniform(0, 0.5) * np.clip(field / field.std(), -2, 2)
    femur, pelvis = np.exp(rng.uniform(np.log([0.7, 0.6]), np.log([2.6, 1.6])))
    spongy = np.clip(image, 0, 350)
    outer = np.clip(image - 120, 0, 350)
    result: NDArray[np.float32] = image + field * (inside * (femur - 1) * spongy + (1 - inside) * (pelvis - 1) * outer)
    if rng.random() < 0.4:
        result -= rng.uniform(0.3, 1.0) * inside * fatty(image, label, rng) * np.clip(result + 60, 0, None)
    return result


def fatty(image: NDArray[np.float32], label: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return how much of the spongy bone gives way to fat, 0..1: all of it far from a random place, none of cortex."""
    bone = np.argwhere(label > 127)
    if not len(bone):
        return np.zeros(image.shape, np.float32)
    z, y, x = bone[rng.integers(len(bone))]
    k, j, i = np.ogrid[: image.shape[0], : image.shape[1], : image.shape[2]]
    radius = rng.uniform(6, 16)  # voxels
    far = 1 - np.exp(-(((k - z) ** 2 + (j - y) ** 2 + (i - x) ** 2) / radius**2).astype(np.float32))
    share: NDArray[np.float32] = far * np.clip((700 - image) / 300, 0, 1)
    return share


def random_crop(
    hu: NDArray[np.int16],
    label: NDArray[np.uint8],
    shape: tuple[int, int, int],
    rng: np.random.Generator,
    reach: float | None = None,
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Return a crop centred near the upper femur more often than elsewhere; beyond the volume there is air.

    reach: slices from the top of the femur within which its centre lies; None: drawn.
    """
    size = np.array(shape)
    if reach is not None or rng.random() < 0.8:
        inside = np.argwhere(label)
        if reach is None:
            reach = rng.uniform(0.2, 1.0) * np.ptp(inside[:, 0])
        top = inside[inside[:, 0] >= inside[:, 0].max() - reach]
        centre = top[rng.integers(len(top))] + rng.integers(-12, 13, 3)
    else:
        centre = rng.integers(0, hu.shape)
    start = np.clip(centre - size // 2, -size // 4, np.maximum(np.array(hu.shape) - 3 * size // 4, 0))
    padding = [(int(max(-a, 0)), int(max(a + s - n, 0))) for a, s, n in zip(start, size, hu.shape, strict=True)]
    box = tuple(slice(max(a, 0), min(a + s, n)) for a, s, n in zip(start, size, hu.shape, strict=True))
    outside = np.int16(OUTSIDE_HU)
    return np.pad(hu[box], padding, constant_values=outside), np.pad(label[box], padding)


def cut(image: NDArray[np.float32], label: NDArray[np.uint8], rng: np.random.Generator) -> Example:
    """End the scan somewhere: blank image and label outside a random box, on one to six sides."""
    size = np.array(image.shape)
    low = np.where(rng.random(3) < 0.4, rng.uniform(0, 0.4, 3) * size, 0).astype(int)
    high = np.where(rng.random(3) < 0.4, rng.uniform(0.6, 1, 3) * size, size).astype(int)
    return framed(image, label, low, high)


def framed(
    image: NDArray[np.float32], label: NDArray[np.uint8], low: NDArray[np.int64], high: NDArray[np.int64]
) -> Example:
    """Return image and label blank outside the index box `low`..`high` (exclusive); the image is changed in place."""
    field_of_view(image, low, high)
    kept = np.zeros_like(label)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    kept[box] = label[box]
    return image, kept
