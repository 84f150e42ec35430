"""Synthetic scans without a proximal femur: pelves whose femurs are soft tissue, and heads under a tilted gantry.

    python tests/bench/no_femurs.py [--count 12] [--model DIR] [--seed 1]

A pelvis is that of a synthetic patient, scanned as a whole and cut by a random field of view. A head is a skull with
jaw, teeth, skull base and neck; its size, its bone and the tilt are drawn. Nothing may be claimed. Printed are a line
for each outline that is refused and each claim, and the counts at the end. For investigational use.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from segmenter.synth.inclusions import Capsule, Place
from segmenter.synth.layers import noise_layer
from segmenter.synth.sampling import PatientOptions, sample_patient
from segmenter.synth.scanner import Protocol, scan
from segmenter.vnet.fine import segment_femurs
from segmenter.vnet.weights import load_models
from segmenter.volume.femur import Refusal
from segmenter.volume.geometry import Geometry, box_geometry

FloatVolume = NDArray[np.float32]
SCAN_MM = 2.0
MARGIN_MM = 3.0  # around a femur, which becomes soft tissue, too: its cartilage
HEIGHT_MM, WIDTH_MM = (60.0, 220.0), (120.0, 300.0)  # of a field of view


def pelvis(rng: np.random.Generator) -> tuple[FloatVolume, Geometry]:
    """Return a scan of a patient whose femurs are soft tissue, HU `(z, y, x)`."""
    patient = sample_patient(rng, PatientOptions(metal=False, screws=False))
    top = max(femur.landmarks.head_centre[2] for femur in patient.femurs.values())
    low, high = patient.low.copy(), patient.high.copy()
    low[2], high[2] = max(low[2], top - 160.0), min(high[2], top + 100.0)
    geometry = box_geometry(low, high, SCAN_MM)
    rendering = patient.render(geometry)
    distance = np.minimum.reduce(list(rendering.distance.values()))
    share = np.clip(0.5 - (distance - MARGIN_MM) / SCAN_MM, 0, 1)
    flesh = patient.tissues.muscle + 10 * noise_layer(rng, 8.0, low, high).on(geometry)
    hu = (rendering.hu + share * (flesh - rendering.hu)).astype(np.float32)
    return scan(hu, (SCAN_MM,) * 3, Protocol.sample(rng), rng), geometry


def box(rng: np.random.Generator, geometry: Geometry) -> tuple[slice, ...]:
    """Return a random field of view."""
    size = np.array([rng.uniform(*HEIGHT_MM), rng.uniform(*WIDTH_MM), rng.uniform(*WIDTH_MM)]) / geometry.spacing
    size = np.minimum(np.ceil(size).astype(int), geometry.shape)
    low = np.floor(rng.uniform(0, 1, 3) * (np.array(geometry.shape) - size)).astype(int)
    return tuple(slice(a, a + n) for a, n in zip(low, size, strict=True))


def head(rng: np.random.Generator, tilt_deg: float) -> tuple[FloatVolume, Geometry]:
    """Return a head from the crown to the neck, slices of 4 mm sheared by the tilt of the gantry, HU `(z, y, x)`."""
    affine = np.eye(4)
    slope = np.tan(np.radians(tilt_deg))
    affine[:3, :3] = np.array([[0.0, 0.0, 1.0], [4.0 * slope, 1.0, 0.0], [4.0, 0.0, 0.0]])
    affine[:3, 3] = (-115.0, -125.0 + 120.0 * slope, -120.0)
    geometry = Geometry((58, 250, 230), affine)
    point = geometry.to_patient(np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), axis=-1))
    size = rng.uniform(0.9, 1.1)
    x, y, z = np.moveaxis(point / size, -1, 0)
    bone, inner, wall = rng.uniform(900, 1600), rng.uniform(300, 800), rng.uniform(5, 9)
    hu = np.full(geometry.shape, -1000.0)
    skin = np.minimum(ellipsoid(x, y, z - 15, (80, 101, 96)), np.hypot(x, y - 5) - 58)
    hu[(skin < 0) & (z > -130)] = rng.uniform(30, 60)
    skull = ellipsoid(x, y, z - 20, (72, 92, 84))
    hu[(skull < 0) & (z > -40)] = bone
    hu[(skull < -1.5) & (skull > 1.5 - wall) & (z > -40)] = inner
    hu[(skull < -wall) & (z > -38)] = 35.0
    for part in jaw_and_neck(rng, bone, inner):
        hu = drawn(part, hu, geometry, size)
    hu += 20 * rng.standard_normal(hu.shape)
    return np.clip(hu, -1024, 3071).astype(np.float32), geometry


def ellipsoid(x: NDArray[np.float64], y: NDArray[np.float64], z: NDArray[np.float64], radii: tuple[float, ...]) -> Any:
    """Return about the distance to an ellipsoid about the origin in mm, negative inside."""
    return (np.sqrt((x / radii[0]) ** 2 + (y / radii[1]) ** 2 + (z / radii[2]) ** 2) - 1) * min(radii)


def jaw_and_neck(rng: np.random.Generator, bone: float, inner: float) -> Iterator[Capsule]:
    """Yield skull base, both halves of the jaw with condyle and teeth, vertebrae; LPS mm for a head of mean size."""

    def both(start: tuple[float, ...], end: tuple[float, ...], radius: float) -> Iterator[Capsule]:
        for sign in (-1, 1):
            a, b = (np.array([sign * p[0], p[1], p[2]]) for p in (start, end))
            yield Capsule(Place.METAL, bone, a, b, radius)
            yield Capsule(Place.METAL, inner, a, b, radius - 2.0)

    yield from both((25, 10, -35), (58, 25, -28), rng.uniform(10, 17))  # petrous bones and mastoids
    yield from both((60, 30, -35), (58, 32, -55), rng.uniform(9, 14))
    yield from both((52, -5, -35), (52, -5, -38), rng.uniform(7, 11))  # condyles
    yield from both((52, -5, -40), (46, -15, -95), rng.uniform(6, 9))
    yield from both((46, -15, -95), (12, -82, -105), rng.uniform(6, 9))
    yield from both((40, -25, -84), (10, -80, -92), rng.uniform(3.5, 5))
    across = np.array([6.0, 0.0, 0.0])
    for level in np.arange(-60.0, -140.0, -17.0):
        at = np.array([0.0, 30.0, level])
        left, right = at + across, at - across
        yield Capsule(Place.METAL, bone, left, right, 9.0)
        yield Capsule(Place.METAL, inner, left, right, 7.5)


def drawn(part: Capsule, hu: NDArray[np.float64], geometry: Geometry, size: float) -> NDArray[np.float64]:
    """Return the scan with a part of a head of that size drawn into it."""
    scaled = Capsule(part.place, part.hu, part.start * size, part.end * size, part.radius * size)
    result = hu.astype(np.float32)
    scaled.draw(result, geometry, 1.5)
    return result


def scenes(count: int, seed: int) -> Iterator[tuple[str, FloatVolume, Geometry]]:
    """Yield name, HU and grid of every scan."""
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        volume, geometry = pelvis(rng)
        yield f"pelvis {number}", volume, geometry
        for view in range(4):
            at = box(rng, geometry)
            affine = geometry.affine.copy()
            affine[:3, 3] = geometry.to_patient(np.array([edge.start for edge in at]))
            part = volume[at]
            yield f"pelvis {number}, field of view {view}", part, Geometry(part.shape, affine)
    for number in range(count):
        rng = np.random.default_rng([seed, count + number])
        tilt = float(rng.uniform(-28, 28)) if number else 0.0
        yield f"head {number}, tilt {tilt:.0f} degrees", *head(rng, tilt)


@click.command()
@click.option("--count", default=12, show_default=True, type=click.IntRange(1), help="Pelves, and heads.")
@click.option(
    "--model", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Default: the shipped one."
)
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0))
def main(count: int, model: Path | None, seed: int) -> None:
    """Segment scans without femurs."""
    models, total = load_models(model), Counter[str]()
    for name, volume, geometry in scenes(count, seed):
        refused: list[Refusal] = []
        found = segment_femurs(volume, geometry, models, on_refused=refused.append)
        kind = name.split(",")[0].split()[0]
        total += Counter({f"{kind} scans": 1, f"{kind} refused": len(refused), f"{kind} CLAIMED": len(found)})
        for femur in found:
            millilitres = femur.mask.sum() * geometry.voxel_volume_mm3 / 1000
            print(f"{name}: CLAIMED {femur.side} {millilitres:.0f} mL", flush=True)
        for one in refused:
            print(f"{name}: {one}", flush=True)
    print(", ".join(f"{kind} {number}" for kind, number in total.items()))


if __name__ == "__main__":
    main()
