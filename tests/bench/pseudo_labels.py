"""Make training examples of real hips without reference outlines, and sheets on which to check each label.

    python tests/bench/pseudo_labels.py --data ../shared/data/ct --out runs/real --not STS_020 ... [--model DIR]

The outline of the fine network is completed by the sphere of the head and moved to the half-way HU. OUT/<name>-<side>
holds each hip as the pool does, marked as scanned; look at OUT/<name>-<side>.png and delete what is wrong. Scans with a
reference are for judging and never become examples. For investigational use.
"""

from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from real_hips import Mask, draw, scans
from scipy import ndimage

from segmenter.refine.outline import completed
from segmenter.refine.snap import BAND_MM, snapped
from segmenter.vnet.coarse import find_hips
from segmenter.vnet.fine import outline_hip
from segmenter.vnet.grids import FINE_MM
from segmenter.vnet.weights import Models, load_models
from segmenter.volume.femur import Side
from segmenter.volume.geometry import Geometry
from segmenter.volume.masks import clean
from segmenter.volume.resample import OUTSIDE_HU, covered, reduce, resample

FloatVolume = NDArray[np.float32]
ROUND_FROM = 0.01  # share of a head that is missing, from which on a label takes the sphere's word


def shares(surface: FloatVolume) -> FloatVolume:
    """Return the share of each voxel inside, from a femur whose edge is twice BAND_MM wide; strays are left out."""
    near = ndimage.binary_dilation(clean(surface > 0.5), iterations=2)
    result: FloatVolume = np.where(near, np.clip(0.5 + (surface - 0.5) * 2 * BAND_MM / FINE_MM, 0, 1), 0)
    return result


def save(path: Path, hu: FloatVolume, share: FloatVolume, side: Side) -> None:
    """Write one hip as the pool holds it, right ones mirrored."""
    path.mkdir(parents=True, exist_ok=True)
    flip = -1 if side is Side.RIGHT else 1
    label = np.round(255 * share).astype(np.uint8)[:, :, ::flip]
    np.savez(path / f"{side}.npz", hu=np.round(hu).astype(np.int16)[:, :, ::flip], label=label, scanned=True)


def label_hips(name: str, volume: NDArray[Any], geometry: Geometry, models: Models, out: Path) -> None:
    """Write every hip of one scan and its sheet."""
    for hip in find_hips(volume, geometry, models):
        probability, fine, *_ = outline_hip(volume, geometry, hip, models)
        femur = completed(probability, fine, (volume, geometry), hip.side, ROUND_FROM)
        surface = snapped(femur, fine, volume, geometry)
        seen = covered(geometry, fine)
        share = np.where(seen, shares(surface), 0)
        save(
            out / f"{name}-{hip.side}",
            np.where(seen, reduce(volume, geometry, fine, OUTSIDE_HU), OUTSIDE_HU),
            share,
            hip.side,
        )
        masks: dict[str, Mask] = {
            "yellow": clean(resample(surface, fine, geometry, 0.0) > 0.5),
            "red": clean(resample(probability, fine, geometry, 0.0) > 0.5),
        }
        grown = masks["yellow"].sum() / masks["red"].sum()
        words = f"{name} {hip.side}: yellow the label, {grown:.3f} of the network's volume (red)"
        print(words, flush=True)
        draw(volume, geometry, masks, words, out / f"{name}-{hip.side}.png")


@click.command()
@click.option("--data", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--model", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Default: the shipped one."
)
@click.option("--not", "left_out", multiple=True, help="Name of a scan to leave out; may be given several times.")
def main(data: Path, out: Path, model: Path | None, left_out: tuple[str, ...]) -> None:
    """Label every scan below DATA but those with a reference, those left out and the negatives."""
    out.mkdir(parents=True, exist_ok=True)
    models = load_models(model)
    for name, volume, geometry, truth in scans(data):
        if truth is None and name not in left_out and not name.startswith("negative "):
            label_hips(name, volume, geometry, models, out)


if __name__ == "__main__":
    main()
