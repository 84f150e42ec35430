"""The distance of the landmarks from those of the shape model, by the length of the shaft.

    python tests/bench/measure/landmarks.py [--bones 15]

Bones drawn from the model are sampled on a grid and cut to a length; the correspondence of the model's vertices gives
the tip of the lesser trochanter. For investigational use.
"""

import click
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from segmenter.measure.anatomy import Anatomy, find_anatomy
from segmenter.synth.atlas import FemurShape, load_atlas
from segmenter.synth.femur_field import Landmarks, femur_field
from segmenter.synth.layers import FAR_MM, Layer
from segmenter.volume.femur import Femur, Side
from segmenter.volume.geometry import Geometry, box_geometry

LENGTHS_MM = (105, 112, 118, 125, 132, 150, 180)  # from the top of the head to the end of the scan
STEP_MM = 1.5
AROUND_MM = 8.0


def tip_vertex(shape: FemurShape) -> int:
    """Return the vertex on the tip of the lesser trochanter: the one farthest from the shaft's axis behind it."""
    marks = Landmarks.of(shape.mean, shape)
    back = np.cross(marks.down, marks.medial)
    offset = shape.mean - marks.shaft
    away = offset - np.outer(offset @ marks.down, marks.down)
    angle = np.degrees(np.arctan2(away @ back, away @ marks.medial))
    depth = shape.mean[:, 2].max() - shape.mean[:, 2]
    near = np.flatnonzero((depth > 72) & (depth < 90) & (angle > 30) & (angle < 90))
    return int(near[np.linalg.norm(away[near], axis=1).argmax()])


def drawn(shape: FemurShape, seed: int) -> NDArray[np.float64]:
    """Return the vertices of a new bone, rotated as a leg may be."""
    rng = np.random.default_rng(seed)
    vertices = shape.sample(rng.normal(0, 0.9, len(shape.modes))) * rng.uniform(0.88, 1.12)
    turned: NDArray[np.float64] = Rotation.from_rotvec(rng.normal(0, 8, 3), degrees=True).apply(
        vertices - vertices.mean(axis=0)
    )
    return turned


def found_in(vertices: NDArray[np.float64], shape: FemurShape, length_mm: float) -> tuple[Anatomy, Landmarks]:
    """Return the landmarks found in the upper end of a bone and those of the model."""
    field = femur_field(vertices, shape, float(vertices[:, 2].min()))
    low, high = vertices.min(axis=0) - AROUND_MM, vertices.max(axis=0) + AROUND_MM
    low[2] = vertices[:, 2].max() - length_mm
    grid: Geometry = box_geometry(low, high, STEP_MM)
    mask = Layer(field.distance, field.geometry, FAR_MM).on(grid) < 0
    return find_anatomy(Femur(Side.LEFT, mask, complete=True), grid), field.landmarks


@click.command()
@click.option("--bones", default=15, show_default=True)
def main(bones: int) -> None:
    """Find the landmarks of bones cut to several lengths and print their errors."""
    shape = load_atlas().femur
    tip = tip_vertex(shape)
    click.echo(
        "| length seen | shaft's direction, degrees | trochanter found | its height, mm | neck-shaft angle, SD |"
    )
    click.echo("|---|---|---|---|---|")
    longest: dict[int, float] = {}
    for length in reversed(LENGTHS_MM):
        turns, heights, angles = [], [], []
        for seed in range(bones):
            vertices = drawn(shape, seed)
            anatomy, marks = found_in(vertices, shape, length)
            if anatomy.shaft is not None:
                turns.append(np.degrees(np.arccos(np.clip(anatomy.shaft.down @ marks.down, -1, 1))))
            if anatomy.trochanter is not None:
                heights.append((anatomy.trochanter.tip - vertices[tip]) @ marks.down)
            if anatomy.neck is not None and not anatomy.neck.problems:
                angles.append(
                    anatomy.neck.neck_shaft_angle_deg - longest.setdefault(seed, anatomy.neck.neck_shaft_angle_deg)
                )
        height = f"{np.mean(heights):+.1f} ± {np.std(heights):.1f}" if heights else "-"
        turn = f"{np.mean(turns):.1f} (largest {np.max(turns):.1f})"
        angle = f"{np.mean(angles):+.1f} ± {np.std(angles):.1f}" if angles else "-"
        click.echo(f"| {length} mm | {turn} | {len(heights)} of {bones} | {height} | {angle} |")


if __name__ == "__main__":
    main()
