"""Train the fine network for some minutes on a GPU; code and packed hips stay below 64 MiB.

    python tests/bench/gpu_training.py pack --real runs/real --out runs/gpu/real.npz          # on this machine
    python tests/bench/gpu_training.py train --real runs/gpu/real.npz --out $OUT --minutes 8  # on the GPU

The GPU machine draws the synthetic patients from a seed, within the time given. Real hips are copied as one compressed
file. OUT/fine.safetensors holds the averaged weights, OUT/log.csv the course of the training. The number of steps is
estimated from a short trial run, for the time that is left after the patients. For investigational use.
"""

import os
import shutil
import tempfile
import time
from pathlib import Path

import click
import numpy as np

from segmenter.training.options import TrainOptions
from segmenter.training.pool import make_pool
from segmenter.training.train import Progress, Trainer

MOST_BYTES = 60 * 2**20  # of the 64 MiB that travel, the code takes the rest
PATIENT_SECONDS = 9.0  # of one core
TRIAL_STEPS, SLACK = 25, 0.93
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group()
def main() -> None:
    """Pack the real hips; train with them on a GPU."""


@main.command()
@click.option("--real", required=True, type=FOLDER, help="What pseudo_labels.py wrote.")
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path))
def pack(real: Path, out: Path) -> None:
    """Put all real hips into one file."""
    arrays = {}
    for path in sorted(real.glob("*/*.npz")):
        with np.load(path) as content:
            arrays |= {f"{path.parent.name}/{path.stem}/{key}": content[key] for key in ("hu", "label")}
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out, **arrays)
    size = out.stat().st_size
    click.echo(f"{len(arrays) // 2} hips, {size / 2**20:.1f} MiB")
    if size > MOST_BYTES:
        raise click.ClickException(f"{out} holds {size} bytes, {MOST_BYTES} may travel: leave out some hips")


def unpack(packed: Path, folder: Path) -> list[Path]:
    """Write the hips as the pool holds them; returns their folders."""
    with np.load(packed) as content:
        names = sorted({key.rpartition("/")[0] for key in content.files})
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            arrays = {key: content[f"{name}/{key}"] for key in ("hu", "label")}
            np.savez(folder / f"{name}.npz", **arrays, scanned=True)
    return [(folder / name).parent for name in names]


@main.command()
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path))
@click.option("--real", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="What `pack` wrote.")
@click.option("--init", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Weights to begin with.")
@click.option("--minutes", default=8.0, show_default=True, type=click.FloatRange(0.1))
@click.option("--patients", default=160, show_default=True, type=click.IntRange(2))
@click.option("--share", default=0.4, show_default=True, type=click.FloatRange(0, 0.95), help="Real crops of all.")
@click.option("--batch", default=8, show_default=True, type=click.IntRange(1))
@click.option("--rate", default=1e-3, show_default=True, type=click.FloatRange(0, min_open=True))
@click.option("--seed", default=41, show_default=True, type=click.IntRange(0))
@click.option("--device", default="auto", show_default=True)
def train(out, real, init, minutes, patients, share, batch, rate, seed, device) -> None:
    """Draw patients, then train until the time is up."""
    begin, cores = time.monotonic(), os.cpu_count() or 1
    out.mkdir(parents=True, exist_ok=True)
    most = max(2, int(0.3 * 60 * minutes * cores / PATIENT_SECONDS))  # drawing takes less than a third of the time
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        pool = make_pool(work / "pool", min(patients, most), seed, cores)
        click.echo(f"{len(pool)} patients after {time.monotonic() - begin:.0f} s")
        seen = mixed(pool[1:], unpack(real, work / "real") if real else [], share)
        options = {"seed": seed, "batch": batch, "learning_rate": rate, "init": init, "device": device, "ema": 0.998}
        options |= {"freeze_norm_after": 0.0 if init else 0.6, "loaders": max(1, cores - 1)}
        per_step, start = speed(TrainOptions("fine", TRIAL_STEPS, **options), seen, work / "trial")
        left = SLACK * (60 * minutes - (time.monotonic() - begin)) - start
        steps = max(1, int(left / per_step))
        click.echo(f"{per_step:.3f} s a step: {steps} steps")
        settings = TrainOptions("fine", steps, save_every=max(steps // 10, 1), **options)
        weights = Trainer(settings, seen, pool[:1], work / "run").run(shown)
        for path in (weights, weights.with_name("log.csv")):
            shutil.copy(path, out / path.name)
    click.echo(f"done after {time.monotonic() - begin:.0f} s")


def shown(progress: Progress) -> None:
    """Say how the training goes, now and then."""
    if progress.validation is not None:
        click.echo(f"{progress.step} {progress}, Dice {progress.validation:.4f}")


def speed(options: TrainOptions, seen: list[Path], folder: Path) -> tuple[float, float]:
    """Return how long a step takes once the loaders have begun, and how long they take to begin, in seconds."""
    begin, ends = time.monotonic(), []
    Trainer(options, seen, [], folder).run(lambda _: ends.append(time.monotonic()))
    half = len(ends) // 2
    return (ends[-1] - ends[half]) / (len(ends) - 1 - half), ends[0] - begin


def mixed(pool: list[Path], real: list[Path], share: float) -> list[Path]:
    """Return the folders to draw from, those of real hips so often that they make up their share."""
    if not real or not share:
        return pool
    synthetic = sum((path / f"{side}.npz").exists() for path in pool for side in ("left", "right"))
    return pool + real * max(1, round(share / (1 - share) * synthetic / len(real)))


if __name__ == "__main__":
    main()
