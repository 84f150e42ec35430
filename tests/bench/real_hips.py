"""Look at real hips: one overlay sheet per scan, and the figures where there is a reference.

    python tests/bench/real_hips.py --data ../shared/data/ct --out runs/real-hips [--model DIR]

Every folder below DATA with `ct.nii.gz` or `dicom` becomes OUT/<name>.png: coronal and sagittal planes through the
femur, then axial ones from the top of the head down; red is what was found, green a reference (`femur_mask.nii.gz`).
`negatives` is searched too; nothing may be found there. For investigational use.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import matplotlib as mpl
import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from segmenter.evaluation.metrics import score_femur
from segmenter.femur import Femur
from segmenter.folder import find_series
from segmenter.geometry import Geometry
from segmenter.inference import segment_femora
from segmenter.series import read_series
from segmenter.volume import read_volume
from segmenter.weights import load_models

mpl.use("Agg")
from matplotlib import pyplot as plt

Mask = NDArray[np.bool_]
CORONAL_MM, AXIAL_MM = (-12.0, 0.0, 12.0), (4.0, 10.0, 18.0, 28.0, 40.0, 55.0, 75.0, 100.0)
AROUND_MM, UPPER_MM = 25.0, 45.0
WINDOW = {"cmap": "gray", "vmin": -200, "vmax": 1000}


def scans(data: Path) -> Iterator[tuple[str, NDArray[Any], Geometry, Mask | None]]:
    """Yield name, HU `(z, y, x)`, grid and reference of every scan that can be read without its own series rules."""
    for folder in sorted(data.glob("STS_*")):
        if (folder / "dicom").is_dir():
            series = read_series(find_series(folder / "dicom"))
            volume, geometry = read_volume(series), series.geometry
        else:
            volume, geometry = nifti(folder / "ct.nii.gz")
        reference = folder / "femur_mask.nii.gz"
        yield folder.name, volume, geometry, nifti(reference)[0] > 0 if reference.exists() else None
    for path in sorted((data / "negatives").glob("*.nii.gz")):
        yield f"negative {path.name.removesuffix('.nii.gz')}", *nifti(path), None


def nifti(path: Path) -> tuple[NDArray[Any], Geometry]:
    """Return volume and grid of an axial NIfTI file."""
    image = sitk.ReadImage(str(path))
    volume = sitk.GetArrayFromImage(image)
    return volume, Geometry.axial(volume.shape, image.GetSpacing()[::-1], image.GetOrigin())


def draw(volume: NDArray[Any], geometry: Geometry, masks: dict[str, Mask], title: str, path: Path) -> None:
    """Write one sheet; masks: colour -> mask, the first decides where the planes lie: about its head or upper end."""
    z, y, x = geometry.spacing
    inside = np.argwhere(next(iter(masks.values())))
    around = np.ceil(AROUND_MM / np.array(geometry.spacing)).astype(int)
    low, high = np.maximum(inside.min(axis=0) - around, 0), inside.max(axis=0) + around + 1
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    volume, masks, inside = volume[box], {colour: mask[box] for colour, mask in masks.items()}, inside - low
    top = int(inside[:, 0].max())
    _, row, column = np.median(inside[inside[:, 0] > top - UPPER_MM / z], axis=0).astype(int)
    planes = [(f"coronal {mm:+.0f} mm", np.s_[::-1, within(row + mm / y, volume.shape[1])], z / x) for mm in CORONAL_MM]
    planes.append(("sagittal", np.s_[::-1, :, column], z / y))
    heights = [(mm, round(top - mm / z)) for mm in AXIAL_MM]
    planes += [(f"{mm:.0f} mm below the top", np.s_[k], y / x) for mm, k in heights if k >= 0]
    figure, axes = plt.subplots(3, 4, figsize=(20, 16), layout="constrained")
    figure.suptitle(f"{title}\nFor investigational use")
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (name, plane, aspect) in zip(axes.flat, planes, strict=False):
        axis.imshow(volume[plane], aspect=aspect, **WINDOW)
        for colour, mask in masks.items():
            if mask[plane].any() and not mask[plane].all():
                axis.contour(mask[plane], [0.5], colors=colour, linewidths=1)
        axis.set_title(name)
    figure.savefig(path, dpi=60)
    plt.close(figure)


def within(position: float, size: int) -> int:
    """Return the nearest index there is."""
    return int(np.clip(round(position), 0, size - 1))


def described(femora: list[Femur], geometry: Geometry, reference: Mask | None) -> str:
    """Return what was found, in one line."""
    words = []
    for femur in femora:
        state = "complete" if femur.complete else ", ".join(femur.reasons)
        words.append(f"{femur.side} {femur.mask.sum() * geometry.voxel_volume_mm3 / 1000:.0f} mL, {state}")
        if reference is not None:
            s = score_femur(femur.side, femur.mask, reference, geometry)
            words.append(f"Dice {s.dice:.4f}, sensitivity {s.sensitivity:.4f}")
            words.append(f"ASSD {s.assd_mm:.2f} mm, HD95 {s.hd95_mm:.2f} mm")
    return "; ".join(words) or "no proximal femur"


@click.command()
@click.option("--data", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--model", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Default: the shipped one."
)
def main(data: Path, out: Path, model: Path | None) -> None:
    """Segment every scan below DATA, print a line for each and draw what was found."""
    out.mkdir(parents=True, exist_ok=True)
    models = load_models(model)
    for name, volume, geometry, reference in scans(data):
        femora = segment_femora(volume, geometry, models)
        line = f"{name}: {described(femora, geometry, reference)}"
        print(line, flush=True)
        if femora:
            masks = {"red": np.any([femur.mask for femur in femora], axis=0)}
            if reference is not None:
                masks["lime"] = reference
            draw(volume, geometry, masks, line, out / f"{name}.png")


if __name__ == "__main__":
    main()
