"""The segmenter's commands: `segment`, `phantom`."""

from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import click

from segmenter.errors import SegmenterError
from segmenter.pipeline import SegmentRequest
from segmenter.pipeline import segment as run
from segmenter.progress import bars, stages
from segmenter.report import Report
from segmenter.results import Wanted

SIDES = click.Choice(["left", "right"])
ONE_PATIENT = {
    "slices", "step", "noise", "fov", "sex", "bone", "metal", "kernel", "position", "crop", "hip", "family",
    "calibration", "drift",
}  # fmt: skip


@click.command()
@click.argument("dicom_dir", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for the results.")
@click.option("--model", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder of other weights.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option(
    "--created", type=click.DateTime(),
    help="Time the results carry; default: the scan's own, so that the same scan gives the same bytes.",
)  # fmt: skip
@click.option(
    "--distal-mm", default=None, type=click.FloatRange(80), callback=lambda ctx, param, value: value or 0.0,
    help="Cut each femur so far below the top of its head; default: follow the scan.",
)  # fmt: skip
@click.option(
    "--calibration", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File of calibration phantoms and certificates; default: HU only.",
)  # fmt: skip
@click.option("--labelmap", is_flag=True, help="Write the segmentation a second time, as a label map.")
@click.option("--mesh", is_flag=True, help="Write a closed surface of every femur: STL and PLY, mm, LPS.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON document.")
def segment(dicom_dir: Path, *, as_json: bool, labelmap: bool, mesh: bool, **given: Any) -> None:
    """Segment and measure the one CT series in DICOM_DIR: SEG, SR, picture, report. For investigational use."""
    from segmenter.folder import find_series

    try:
        request = SegmentRequest(find_series(dicom_dir), wanted=Wanted(labelmap, mesh), **given)
        with stages() as on_stage:
            report = run(request, on_stage)
    except (SegmenterError, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(report.to_json() if as_json else _summary(report), nl=not as_json)


def _summary(report: Report) -> str:
    lines = [f"{report.finding}: the report says so"] if report.finding else []
    for femur in report.femurs:
        state = "complete" if femur.complete else f"incomplete ({', '.join(femur.incomplete_reasons)})"
        density = f", {femur.vbmd_mg_cm3:.1f} mg/cm3 {femur.equivalent_material}" if femur.equivalent_material else ""
        lines.append(f"{femur.side} femur: {femur.volume_ml:.1f} ml, mean {femur.mean_hu:.0f} HU{density}, {state}")
    lines += [f"warning: {femur.side} femur: {warning}" for femur in report.femurs for warning in femur.warnings]
    lines += [f"warning: {warning}" for warning in (*report.calibration.warnings, *report.warnings)]
    return "\n".join([*lines, *report.outputs])


@click.command()
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder to write to.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="Another seed, another patient.")
@click.option("--slices", default=72, show_default=True, type=click.IntRange(2, 1000))
@click.option("--size", default=512, show_default=True, type=click.IntRange(64, 1024), help="Rows and columns.")
@click.option("--step", default=2.5, show_default=True, type=click.FloatRange(0.4, 5.0), help="Slice distance, mm.")
@click.option("--noise", default=12.0, show_default=True, type=click.FloatRange(0, 100), help="Noise, HU.")
@click.option("--fov", type=click.FloatRange(80, 700), help="Field of view, mm; default: the body, or one hip.")
@click.option("--kernel", default="standard", show_default=True, type=click.Choice(["soft", "standard", "sharp"]))
@click.option("--position", default="HFS", show_default=True, type=click.Choice(["HFS", "HFP", "FFS", "FFP"]))
@click.option("--crop", type=click.Choice(["head", "shaft"]), help="Cut through the heads, or end at the trochanters.")
@click.option("--hip", type=SIDES, help="Show this hip only, in a round field of view.")
@click.option("--sex", type=click.Choice(["F", "M"]))
@click.option("--bone", type=click.FloatRange(0, 1), help="0 osteoporotic to 1 dense.")
@click.option("--metal", type=SIDES, help="A hip prosthesis on this side, which then has no truth.")
@click.option("--family", type=click.IntRange(0, 23), help="A held-out family of bone shapes.")
@click.option(
    "--calibration", default="slab", show_default=True, help="The calibration phantom under the patient.",
    type=click.Choice(["slab", "mindways", "image-analysis", "qrm-bdc", "qrm-bdc-6", "b-mas"]),
)  # fmt: skip
@click.option("--drift", default=0.0, show_default=True, type=click.FloatRange(-10, 10), help="HU scale drift, %.")
@click.option("--cohort", type=click.IntRange(1, 9999), help="Write so many held-out cases instead.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="With --cohort: processes.")
@click.pass_context
def phantom(ctx: click.Context, /, cohort: int | None, workers: int, **given: Any) -> None:
    """Write a synthetic QCT patient: OUT/dicom (CT series), OUT/truth (masks, densities), OUT/calibration.toml.

    With --cohort, a folder of cases for `qct-node evaluate`; broken off, it continues. For investigational use.
    """
    for name in sorted(ONE_PATIENT if cohort else {"workers"}):
        if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name} has no meaning {'with' if cohort else 'without'} --cohort")
    try:
        click.echo(_cohort(cohort, workers, **given) if cohort else _patient(**given))
    except (OSError, ValueError) as error:
        raise click.ClickException(f"cannot write the patient: {error}") from error
    except BrokenProcessPool as error:
        raise click.ClickException("a process was ended from outside: the same command continues") from error


def _patient(*, out: Path, slices: int, **given: Any) -> Path:
    from segmenter.femur import Side
    from segmenter.phantom import PhantomOptions, write_phantom
    from segmenter.phantom.options import Crop, Kernel, Position

    kinds: dict[str, Callable[[Any], Any]] = {
        "metal": Side,
        "hip": Side,
        "crop": Crop,
        "kernel": Kernel,
        "position": Position,
    }
    names = {"step": "slice_step_mm", "noise": "noise_hu", "fov": "field_of_view_mm", "drift": "drift_percent"}
    wanted: dict[str, Any] = {names.get(k, k): kinds.get(k, lambda v: v)(v) for k, v in given.items() if v is not None}
    with bars(slices=slices) as show:
        return write_phantom(PhantomOptions(slices=slices, **wanted), out, show["slices"])


def _cohort(count: int, workers: int, *, out: Path, seed: int, size: int, **_: Any) -> Path:
    from segmenter.phantom.cohort import Cohort, write_cohort

    with bars(cases=count) as show:
        return write_cohort(Cohort(seed, size), count, out, workers, show["cases"])
