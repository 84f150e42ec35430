"""The command `segment`."""

from pathlib import Path
from typing import Any

import click

from segmenter.commands.out_folder import OUT
from segmenter.commands.progress import stages
from segmenter.errors import refusal_for
from segmenter.output.outputs import OutputOptions
from segmenter.output.report_json import Report
from segmenter.pipeline import SegmentRequest
from segmenter.pipeline import segment as run


@click.command()
@click.argument("dicom_dir", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", required=True, type=OUT, help="Folder for the results.")
@click.option("--model", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder of other weights.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option(
    "--created", type=click.DateTime(),
    help="Date and time of the results; default: those of the scan, so that the same scan gives the same bytes.",
)  # fmt: skip
@click.option(
    "--distal-mm", default=None, type=click.FloatRange(80), callback=lambda ctx, param, value: value or 0.0,
    help="Cut each femur this far below the top of its head; default: as far as the scan shows it.",
)  # fmt: skip
@click.option(
    "--calibration", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File of calibration phantoms and certificates; default: HU only.",
)  # fmt: skip
@click.option("--labelmap", is_flag=True, help="Also write the segmentation as a label map.")
@click.option("--mesh", is_flag=True, help="Write a closed surface of every femur as STL and PLY (mm, LPS).")
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON document.")
def segment(dicom_dir: Path, *, as_json: bool, labelmap: bool, mesh: bool, **given: Any) -> None:
    """Segment and measure the one CT series in DICOM_DIR: SEG, SR, picture, report. For investigational use."""
    from segmenter.read.folder import search_folder

    try:
        found = search_folder(dicom_dir)
        for path, why in found.unused.items():
            click.echo(f"not used: {str(path.relative_to(dicom_dir))!r} ({why})", err=True)
        request = SegmentRequest(found.files, outputs=OutputOptions(labelmap, mesh), notes=found.warnings, **given)
        with stages() as on_stage:
            report = run(request, on_stage)
    except Exception as error:
        refusal = refusal_for(error)
        if refusal is None:
            raise
        raise click.ClickException(str(error if isinstance(error, OSError) else refusal)) from error
    click.echo(report.to_json() if as_json else _summary(report, request.out), nl=not as_json)


def _summary(report: Report, out: Path) -> str:
    lines = [f"{report.finding}: the report says so"] if report.finding else []
    for femur in report.femurs:
        state = "complete" if femur.complete else f"incomplete ({', '.join(femur.incomplete_reasons)})"
        density = f", {femur.vbmd_mg_cm3:.1f} mg/cm3 {femur.equivalent_material}" if femur.equivalent_material else ""
        lines.append(f"{femur.side} femur: {femur.volume_ml:.1f} ml, mean {femur.mean_hu:.0f} HU{density}, {state}")
    lines += [f"warning: {femur.side} femur: {warning}" for femur in report.femurs for warning in femur.warnings]
    lines += [f"warning: {warning}" for warning in (*report.calibration.warnings, *report.warnings)]
    return "\n".join([*lines, *(str(out / name) for name in report.outputs)])
