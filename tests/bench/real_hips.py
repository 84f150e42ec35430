"""Overlay sheets of real hips, one per scan, with the figures where there is a reference.

    python tests/bench/real_hips.py --data ../shared/data/ct --out runs/real-hips [--model DIR] [--only NAME ...]

Every scan below DATA and DATA/negatives (a NIfTI file; a folder with one series, with `dicom` or with `ct.nii.gz`) is
segmented. If a femur is found, OUT/<name>.png is drawn: coronal and sagittal planes through the upper end of the
femur, then axial ones from the top of the head down; red is the segmentation, green the reference
(`femur_mask.nii.gz`). No femur may be found in the negatives. At the end a table: Dice of the whole femur and apart of
dome (the top 15 mm of the reference), head (the top 45 mm), rest of head, neck with trochanters (to 105 mm) and shaft,
and the volume's error.
For investigational use.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread

from segmenter.evaluation.images import find_image, read_array, read_geometry, read_hu
from segmenter.evaluation.metrics import score_femur
from segmenter.read.folder import find_series
from segmenter.read.hounsfield import read_volume
from segmenter.read.series import read_series
from segmenter.vnet.fine import segment_femurs
from segmenter.vnet.weights import load_models
from segmenter.volume.femur import Femur
from segmenter.volume.geometry import Geometry

mpl.use("Agg")
from matplotlib import pyplot as plt

Mask = NDArray[np.bool_]
CORONAL_MM, AXIAL_MM = (-12.0, 0.0, 12.0), (4.0, 10.0, 18.0, 28.0, 40.0, 55.0, 75.0, 100.0)
AROUND_MM, UPPER_MM = 25.0, 45.0
# Millimetres below the top of the reference, of a head that is whole or of what a scan left of it.
REGIONS_MM = {"dome": (0, 15), "head": (0, 45), "rest of head": (15, 45), "neck": (45, 105), "shaft": (105, 1000)}
WINDOW = {"cmap": "gray", "vmin": -200, "vmax": 1000}


def scans(data: Path, only: tuple[str, ...] = ()) -> Iterator[tuple[str, NDArray[Any], Geometry, Mask | None]]:
    """Yield name, HU `(z, y, x)`, grid and reference of every scan, or of those named."""
    for path in sorted([*data.iterdir(), *(data / "negatives").glob("*")]):
        if only and path.name not in only:
            continue
        name = path.name.removesuffix(".nii.gz") if path.parent == data else f"negative {path.name.split('.')[0]}"
        if image := path if path.name.endswith(".nii.gz") else find_image(path, "ct"):
            yield name, read_hu(image), read_geometry(image), reference(path)
        elif path.is_dir() and path != data / "negatives":
            files = find_series(path / "dicom" if (path / "dicom").is_dir() else path)
            series = read_series([file for file in files if dcmread(file, specific_tags=["Modality"]).Modality == "CT"])
            yield name, read_volume(series), series.geometry, reference(path)


def reference(folder: Path) -> Mask | None:
    """Return the hand-made outline of a scan, if there is one."""
    path = find_image(folder, "femur_mask")
    return None if path is None else read_array(path) > 0


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


def described(femurs: list[Femur], geometry: Geometry, truth: Mask | None) -> str:
    """Return what was found, in one line."""
    words = []
    for femur in femurs:
        state = "complete" if femur.complete else ", ".join(femur.reasons)
        words.append(f"{femur.side} {femur.mask.sum() * geometry.voxel_volume_mm3 / 1000:.0f} mL, {state}")
        if truth is not None and (femur.mask & truth).any():
            s = score_femur(femur.side, femur.mask, truth, geometry)
            words.append(f"Dice {s.dice:.4f}, sensitivity {s.sensitivity:.4f}")
            words.append(f"ASSD {s.assd_mm:.2f} mm, HD95 {s.hd95_mm:.2f} mm")
    return "; ".join(words) or "no proximal femur"


def by_region(found: Mask, truth: Mask, geometry: Geometry) -> dict[str, float]:
    """Return the Dice of every part of a femur that the reference holds, and the error of the whole volume in %."""
    height = geometry.to_patient(np.argwhere(truth))[:, 2]
    every = np.array([geometry.to_patient(np.array([k, 0, 0]))[2] for k in range(len(truth))])
    depth = height.max() - every
    figures = {"all": overlap(found, truth)}
    for region, (upper, lower) in REGIONS_MM.items():
        # The slice above the top belongs to the dome: what is claimed there is wrong.
        here = (depth >= upper if upper else np.full(len(depth), True)) & (depth < lower)
        if truth[here].any():
            figures[region] = overlap(found[here], truth[here])
    figures["volume %"] = 100 * (found.sum() / truth.sum() - 1)
    return figures


def overlap(found: Mask, truth: Mask) -> float:
    """Return the Dice of two masks."""
    return float(2 * (found & truth).sum() / (found.sum() + truth.sum()))


def table(rows: dict[str, dict[str, float]]) -> str:
    """Return the figures of all scans as a table."""
    columns = ["all", *REGIONS_MM, "volume %"]
    lines = ["| scan | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, row in rows.items():
        cells = [f"{row[c]:{'+.1f' if c == 'volume %' else '.4f'}}" if c in row else "" for c in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


@click.command()
@click.option("--data", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--model", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Default: the shipped one."
)
@click.option("--only", multiple=True, help="Name of a scan; may be given several times. Default: all.")
@click.option("--sheets/--no-sheets", default=True, show_default=True)
def main(data: Path, out: Path, model: Path | None, only: tuple[str, ...], *, sheets: bool) -> None:
    """Segment every scan below DATA, print a line for each and draw what was found."""
    out.mkdir(parents=True, exist_ok=True)
    models = load_models(model)
    rows = {}
    for name, volume, geometry, truth in scans(data, only):
        femurs = segment_femurs(volume, geometry, models)
        line = f"{name}: {described(femurs, geometry, truth)}"
        print(line, flush=True)
        if truth is not None:
            found = np.any([femur.mask for femur in femurs], axis=0) if femurs else np.zeros_like(truth)
            rows[name] = by_region(found, truth, geometry)
        if femurs and sheets:
            masks = {"red": np.any([femur.mask for femur in femurs], axis=0)}
            if truth is not None:
                masks["lime"] = truth
            draw(volume, geometry, masks, line, out / f"{name}.png")
    print(table(rows))


if __name__ == "__main__":
    main()
