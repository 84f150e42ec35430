"""The segmenter's commands: `segment`."""

import contextlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import click

from segmenter.errors import SegmenterError
from segmenter.pipeline import STAGES, OnStage, SegmentRequest
from segmenter.pipeline import segment as run
from segmenter.report import Report


@click.command()
@click.argument("dicom_dir", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for the results."
)
@click.option("--model", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Other weights.")
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
