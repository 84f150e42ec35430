"""The segmenter's commands: `segment`, `phantom`."""

from datetime import datetime
from pathlib import Path

import click

from segmenter.errors import SegmenterError
from segmenter.pipeline import SegmentRequest
from segmenter.pipeline import segment as run
from segmenter.progress import bars, stages
from segmenter.report import Report


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
        with stages() as on_stage:
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
        with bars(slices=slices) as show:
            folder = write_phantom(options, out, show["slices"])
    except OSError as error:
        raise click.ClickException(f"cannot write the patient: {error}") from error
    click.echo(folder)
