"""The agreement of definitions of cortical bone with the true cortex of synthetic patients.

    python tests/bench/measure/compartments.py [--patients 10] [--seed 77]

The true masks are used, so that only the definition is tested. For investigational use.
"""

import sys
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from segmenter.measure.anatomy import find_anatomy
from segmenter.measure.compartments import cortical, depth_below_surface
from segmenter.measure.regions import Voxels
from segmenter.synth.femur_bone import cortex_thickness
from segmenter.volume.femur import Femur

sys.path.insert(0, str(Path(__file__).parent))
from scans import Hip, hips

NEVER = 1e9
DEFINITIONS = {  # peel mm, depth mm, HU
    "threshold alone, 450 HU": (0.0, 30.0, 450.0),
    "peel alone, 3 mm": (3.0, 3.0, NEVER),
    "peel 1 mm, 450 HU down to 4 mm": (1.0, 4.0, 450.0),
    "**peel 1 mm, 450 HU down to 8 mm**": (1.0, 8.0, 450.0),
    "peel 1 mm, 600 HU down to 8 mm": (1.0, 8.0, 600.0),
    "peel 2 mm, 450 HU down to 8 mm": (2.0, 8.0, 450.0),
}
INNER_MM = 0.8  # distance of true trabecular bone from the ramp of the cortex


def true_cortex(hip: Hip) -> tuple[NDArray[np.bool_], float]:
    """Return the voxels `(z, y, x)` that are cortex for more than half, and the mean HU of true trabecular bone."""
    distance, depth = hip.layers.distance[hip.side], hip.layers.depth[hip.side]
    index = np.stack(np.meshgrid(*map(np.arange, distance.shape), indexing="ij"), axis=-1)
    points = hip.layer_grid.to_patient(index).astype(np.float32)
    patient = hip.patient
    thickness = cortex_thickness(patient.tissues, points, depth, patient.femurs[hip.side].landmarks)
    cortex = (distance < 0) & (distance > -thickness)
    inner = distance < -thickness - INNER_MM
    share = cortex.reshape(hip.geometry.shape[0], -1, *hip.geometry.shape[1:]).mean(axis=1)
    return share > 0.5, float(hip.layers.hu[inner].mean())


def judged(hip: Hip) -> list[tuple[float, float, float]]:
    """Return for each definition: Dice with the true cortex, volume ratio to it, error of the trabecular HU."""
    truth, trabecular = true_cortex(hip)
    mask = hip.truth
    anatomy = find_anatomy(Femur(hip.side, mask, complete=True), hip.geometry)
    voxels = Voxels.of(mask, hip.hu, hip.geometry)
    down = anatomy.shaft.down if anatomy.shaft else None
    depth = depth_below_surface(anatomy.body, voxels.points, 30.0, down)
    wanted, found = truth[mask], []
    for peel_mm, depth_mm, hu in DEFINITIONS.values():
        dense = voxels.hu >= hu
        chosen = cortical(voxels.mask, depth, dense, peel_mm, depth_mm)[voxels.mask] if peel_mm else dense
        dice = 2 * (chosen & wanted).sum() / (chosen.sum() + wanted.sum())
        found.append((float(dice), float(chosen.sum() / wanted.sum()), float(voxels.hu[~chosen].mean() - trabecular)))
    return found


@click.command()
@click.option("--patients", default=10, show_default=True)
@click.option("--seed", default=77, show_default=True)
def main(patients: int, seed: int) -> None:
    """Compare the definitions and print the table: means and standard deviations over the scans."""
    results = np.array([judged(hip) for hip in hips(patients, seed)])
    mean, spread = results.mean(axis=0), results.std(axis=0, ddof=1)
    click.echo("| definition | Dice with the true cortex | volume / true | trabecular HU, error |\n|---|---|---|---|")
    for name, (dice, volume, hu), (_, volume_sd, hu_sd) in zip(DEFINITIONS, mean, spread, strict=True):
        click.echo(f"| {name} | {dice:.3f} | {volume:.2f} ± {volume_sd:.2f} | {hu:+.0f} ± {hu_sd:.0f} |")


if __name__ == "__main__":
    main()
