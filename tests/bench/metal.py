"""A native femur beside an operated one, and the operated one: each implant in the same synthetic patients.

    python tests/bench/metal.py [--count 2] [--model DIR] [--seed 1]

Each patient is scanned without metal and with each implant on the right, everything else alike. Printed are the Dice of
the left femur, the change of its volume against the scan without metal and its warnings; of the right one whether it is
claimed, its Dice against the bone with the metal in it, and its warnings. For investigational use.
"""

from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from segmenter.density.calibration import UNCALIBRATED
from segmenter.measure.femurs import measure_femurs
from segmenter.synth.implants import Implant
from segmenter.synth.sampling import PatientOptions, sample_patient
from segmenter.synth.scanner import Protocol, scan
from segmenter.vnet.fine import segment_femurs
from segmenter.vnet.weights import load_models
from segmenter.volume.femur import Refusal, Side
from segmenter.volume.geometry import Geometry, box_geometry

SCAN_MM, ABOVE_MM, BELOW_MM = 2.0, 50.0, 160.0

Mask = NDArray[np.bool_]


def scene(seed: int, number: int, implant: Implant | None) -> tuple[NDArray[np.int16], Geometry, dict[Side, Mask]]:
    """Return HU, grid and true femurs of one patient."""
    operated = None if implant is None else (Side.RIGHT, implant)
    rng = np.random.default_rng([seed, number])
    patient = sample_patient(rng, PatientOptions(metal=False, screws=False, implant=operated))
    heads = [femur.landmarks.head_centre[2] for femur in patient.femurs.values()]
    low, high = patient.low.copy(), patient.high.copy()
    low[2], high[2] = min(heads) - BELOW_MM, max(heads) + ABOVE_MM
    geometry = box_geometry(low, high, SCAN_MM)
    rendering = patient.render(geometry)
    rng = np.random.default_rng([seed, number, 1])
    hu = scan(rendering.hu, (SCAN_MM,) * 3, Protocol.sample(rng), rng)
    return np.rint(hu).astype(np.int16), geometry, {side: rendering.distance[side] < 0 for side in Side}


def dice(found: Mask, truth: Mask) -> float:
    """Return the overlap of two masks."""
    return float(2 * (found & truth).sum() / max(found.sum() + truth.sum(), 1))


@click.command()
@click.option("--count", default=2, show_default=True, type=click.IntRange(1), help="Patients.")
@click.option(
    "--model", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Default: the shipped one."
)
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0))
def main(count: int, model: Path | None, seed: int) -> None:
    """Segment and measure every patient with every implant."""
    models = load_models(model)
    for number in range(count):
        plain = 0.0
        for implant in (None, *Implant):
            hu, geometry, truth = scene(seed, number, implant)
            refused: list[Refusal] = []
            femurs = segment_femurs(hu, geometry, models, on_refused=refused.append)
            measured = measure_femurs(femurs, hu, geometry, UNCALIBRATED)
            print(f"patient {number}, {implant or 'no implant'}:", *measured.warnings, *refused)
            for femur, numbers in zip(femurs, measured.femurs, strict=True):
                volume = float(femur.mask.sum())
                plain = volume if implant is None and femur.side is Side.LEFT else plain
                change = f", volume {100 * (volume / plain - 1):+.1f} %" if femur.side is Side.LEFT else ""
                state = "complete" if femur.complete else ", ".join(femur.reasons)
                words = f"Dice {dice(femur.mask, truth[femur.side]):.4f}{change}, {state}"
                print(f"  {femur.side}: {words}; metal {numbers.metal_suspected}; {' | '.join(numbers.warnings)}")
            print(end="", flush=True)


if __name__ == "__main__":
    main()
