"""The segmenter's commands: `segment`, `phantom`, `train`."""

import contextlib
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from segmenter.errors import SegmenterError
from segmenter.pipeline import STAGES, OnStage, SegmentRequest
from segmenter.pipeline import segment as run
from segmenter.report import Report

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


@click.command()
@click.argument("dicom_dir", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for the results.")
@click.option("--model", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder of other weights.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option(
    "--created", type=click.DateTime(),
    help="Time the results carry; default: the scan's own, so that the same scan gives the same bytes.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON document.")
def segment(
    dicom_dir: Path, out: Path, model: Path | None, device: str, created: datetime | None, as_json: bool
) -> None:
    """Segment the one CT series in DICOM_DIR: DICOM-SEG, picture, report. For investigational use."""
    from segmenter.folder import find_series

    try:
        request = SegmentRequest(find_series(dicom_dir), out, created, model, device)
        with _progress() as on_stage:
            report = run(request, on_stage)
    except (SegmenterError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(report.to_json() if as_json else _summary(report), nl=not as_json)


def _summary(report: Report) -> str:
    lines = []
    for femur in report.femurs:
        state = "complete" if femur.complete else f"incomplete ({', '.join(femur.incomplete_reasons)})"
        lines.append(f"{femur.side} femur: {femur.volume_ml:.1f} ml, mean {femur.mean_hu:.0f} HU, {state}")
    lines += [f"warning: {warning}" for warning in report.warnings]
    return "\n".join([*lines, *report.outputs])


@contextlib.contextmanager
def _progress() -> Iterator[OnStage]:
    """Show the stages on stderr: a bar on a terminal, one plain line each otherwise."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda stage: click.echo(f"{stage} ...", err=True)
        return
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("", total=len(STAGES))
        yield lambda stage: progress.update(task, description=stage, completed=STAGES.index(stage))


@click.command()
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for the patient.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="Another seed, another patient.")
@click.option("--slices", default=72, show_default=True, type=click.IntRange(2, 1000))
@click.option("--size", default=512, show_default=True, type=click.IntRange(64, 1024), help="Rows and columns.")
@click.option("--step", default=2.5, show_default=True, type=click.FloatRange(0.4, 5.0), help="Slice distance, mm.")
@click.option("--noise", default=12.0, show_default=True, type=click.FloatRange(0, 100), help="Noise, HU.")
def phantom(out: Path, seed: int, slices: int, size: int, step: float, noise: float) -> None:
    """Write a synthetic QCT patient: OUT/dicom (CT series) and OUT/truth (masks, densities)."""
    from segmenter.phantom import PhantomOptions, write_phantom

    options = PhantomOptions(seed=seed, slices=slices, size=size, slice_step_mm=step, noise_hu=noise)
    try:
        with _bars(slices=slices) as bars:
            folder = write_phantom(options, out, bars["slices"])
    except OSError as error:
        raise click.ClickException(f"cannot write the patient: {error}") from error
    click.echo(folder)


@click.command()
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Pool, runs and model.")
@click.option("--patients", default=160, show_default=True, type=click.IntRange(2), help="Synthetic patients.")
@click.option("--coarse-steps", default=500, show_default=True, type=click.IntRange(1))
@click.option("--fine-steps", default=1200, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0))
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1), help="Processes that make patients.")
def train(  # noqa: PLR0913, PLR0917
    out: Path, patients: int, coarse_steps: int, fine_steps: int, seed: int, device: str, workers: int
) -> None:
    """Train both networks on synthetic patients; a broken run continues. The defaults made the shipped weights."""
    from segmenter.training.recipe import Recipe, train_model

    recipe = Recipe(patients, coarse_steps=coarse_steps, fine_steps=fine_steps, seed=seed, device=device)
    with _bars(patients=patients, coarse=coarse_steps, fine=fine_steps) as bars:
        model = train_model(recipe, out, workers, bars["patients"], lambda stage, at: bars[stage](at.step))
    click.echo(model)


@contextlib.contextmanager
def _bars(**totals: int) -> Iterator[dict[str, Callable[[int], None]]]:
    """Show how far counted works are on stderr: bars with the time left on a terminal, a line per tenth otherwise."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)

    def plain(name: str, done: int) -> None:
        if done % max(totals[name] // 10, 1) == 0 or done == totals[name]:
            click.echo(f"{name} {done}/{totals[name]}", err=True)

    if not console.is_terminal:
        yield {name: partial(plain, name) for name in totals}
        return
    with Progress(console=console) as progress:
        tasks = {name: progress.add_task(name, total=total) for name, total in totals.items()}
        yield {name: partial(_advance, progress, task) for name, task in tasks.items()}


def _advance(progress: "Progress", task: "TaskID", done: int) -> None:
    progress.update(task, completed=done)
