"""The error of volumes from the soft output of the network, compared with counted voxels.

    python tests/bench/measure/partial_volume.py [--patients 24] [--seed 555]

The truth is the volume inside the patient's own distance field, sampled at 0.4 mm. "soft" is the sum of the
probabilities around the mask, "surface" the volume of the mesh. For investigational use.
"""

import sys
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segmenter.measure.surface import body_of
from segmenter.vnet.fine import SURFACE, carried_out
from segmenter.vnet.grids import FINE_MARGIN_MM, FINE_MM
from segmenter.vnet.network import probabilities
from segmenter.vnet.weights import Models, load_models
from segmenter.volume.femur import Side
from segmenter.volume.geometry import Geometry, box_geometry
from segmenter.volume.masks import bounding_box, clean
from segmenter.volume.resample import OUTSIDE_HU, reduce, resample

sys.path.insert(0, str(Path(__file__).parent))
from scans import SPACINGS_MM, Hip, hips

NEAR_MM = 3.0  # probabilities farther from the mask belong to another bone
WAYS = ("voxels counted", "soft output summed", "surface of the mesh", "true mask, voxels counted")


def soft_output(hip: Hip, models: Models) -> NDArray[np.float32]:
    """Return the fine network's probability of this femur on the scan's grid."""
    box = bounding_box(hip.truth)
    ends = hip.geometry.to_patient(np.array([[at.start, at.stop - 1] for at in box]).T)
    fine = box_geometry(ends.min(axis=0) - FINE_MARGIN_MM, ends.max(axis=0) + FINE_MARGIN_MM, FINE_MM)
    flip = -1 if hip.side is Side.RIGHT else 1
    hu = reduce(hip.hu, hip.geometry, fine, OUTSIDE_HU)
    femur = probabilities(models.fine, hu[:, :, ::flip])[1][:, :, ::flip]
    return resample(carried_out(femur, fine, hip.geometry), fine, hip.geometry, 0.0)


def volumes_ml(hip: Hip, models: Models) -> tuple[float, ...]:
    """Return the volume by each of WAYS."""
    soft = soft_output(hip, models)
    mask = clean(soft > SURFACE)
    voxel = hip.geometry.voxel_volume_mm3 / 1000
    reach = ndimage.distance_transform_edt(~mask, hip.geometry.spacing) < NEAR_MM
    mesh = body_of(mask, hip.geometry).surface.volume_mm3 / 1000
    return mask.sum() * voxel, float(soft[reach].sum()) * voxel, mesh, hip.truth.sum() * voxel


def table(spacing: list[Geometry], errors: NDArray[np.float64]) -> str:
    """Return the errors in percent, `(scans, ways)`, as a table."""
    rows = ["| way | bias % | SD % | mean error % | largest % | " + " | ".join(f"{s[0]:g} mm" for s in SPACINGS_MM)]
    rows.append("|" + "---|" * (5 + len(SPACINGS_MM)))
    thick = np.array([geometry.spacing[0] for geometry in spacing])
    for way, error in zip(WAYS, errors.T, strict=True):
        size = np.abs(error)
        by_slice = [size[np.isclose(thick, s[0])] for s in SPACINGS_MM]
        parts = [f"{part.mean():.2f}" if len(part) else "-" for part in by_slice]
        values = f"{error.mean():+.2f} | {error.std(ddof=1):.2f} | {size.mean():.2f} | {size.max():.2f}"
        rows.append(f"| {way} | {values} | {' | '.join(parts)} |")
    rows[0] += " |"
    return "\n".join(rows)


@click.command()
@click.option("--patients", default=24, show_default=True)
@click.option("--seed", default=555, show_default=True)
def main(patients: int, seed: int) -> None:
    """Measure and print the table; the last columns are mean errors by slice thickness."""
    models, grids, errors = load_models(None), [], []
    for number, hip in enumerate(hips(patients, seed), 1):
        true = hip.true_volume_ml()
        error = [100 * (volume / true - 1) for volume in volumes_ml(hip, models)]
        grids.append(hip.geometry)
        errors.append(error)
        click.echo(
            f"{number} {hip.geometry.spacing[0]:g} mm {true:.1f} mL " + " ".join(f"{e:+.2f}" for e in error), err=True
        )
    click.echo(table(grids, np.array(errors)))


if __name__ == "__main__":
    main()
