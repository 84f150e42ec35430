"""The command `phantom`: synthetic patients as DICOM series."""

from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import click

from segmenter.commands.out_folder import OUT
from segmenter.commands.progress import bars

SIDES = click.Choice(["left", "right"])
ONE_PATIENT = {
    "slices", "step", "noise", "fov", "sex", "bone", "metal", "kernel", "position", "crop", "hip", "family",
    "calibration", "drift",
}  # fmt: skip


@click.command()
@click.option("--out", required=True, type=OUT, help="Folder to write to.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="Each seed gives another patient.")
@click.option("--slices", default=72, show_default=True, type=click.IntRange(2, 1000))
@click.option("--size", default=512, show_default=True, type=click.IntRange(64, 1024), help="Rows and columns.")
@click.option("--step", default=2.5, show_default=True, type=click.FloatRange(0.4, 5.0), help="Slice distance, mm.")
@click.option("--noise", default=12.0, show_default=True, type=click.FloatRange(0, 100), help="Noise, HU.")
@click.option("--fov", type=click.FloatRange(80, 700), help="Field of view, mm; default: the body, or one hip.")
@click.option("--kernel", default="standard", show_default=True, type=click.Choice(["soft", "standard", "sharp"]))
@click.option("--position", default="HFS", show_default=True, type=click.Choice(["HFS", "HFP", "FFS", "FFP"]))
@click.option("--crop", type=click.Choice(["head", "shaft"]), help="Cut through the heads, or end at the trochanters.")
@click.option("--hip", type=SIDES, help="Show only this hip, in a round field of view.")
@click.option("--sex", type=click.Choice(["F", "M"]))
@click.option("--bone", type=click.FloatRange(0, 1), help="0 osteoporotic to 1 dense.")
@click.option("--metal", type=SIDES, help="Hip prosthesis on this side, which then has no true mask.")
@click.option("--family", type=click.IntRange(0, 23), help="A held-out family of bone shapes.")
@click.option(
    "--calibration", default="slab", show_default=True, help="The calibration phantom under the patient.",
    type=click.Choice(["slab", "mindways", "image-analysis", "qrm-bdc", "qrm-bdc-6", "b-mas"]),
)  # fmt: skip
@click.option("--drift", default=0.0, show_default=True, type=click.FloatRange(-10, 10), help="HU scale drift, %.")
@click.option("--cohort", type=click.IntRange(1, 9999), help="Write this many held-out cases instead.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Processes for --cohort.")
@click.pass_context
def phantom(ctx: click.Context, /, cohort: int | None, workers: int, **given: Any) -> None:
    """Write a synthetic QCT patient: OUT/dicom (CT series), OUT/truth (masks, densities), OUT/calibration.toml.

    With --cohort: a folder of cases for `qct-node evaluate`; an interrupted run is continued. For investigational use.
    """
    for name in sorted(ONE_PATIENT if cohort else {"workers"}):
        if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name} {'cannot be used with' if cohort else 'needs'} --cohort")
    try:
        click.echo(_cohort(cohort, workers, **given) if cohort else _patient(**given))
    except (OSError, ValueError) as error:
        raise click.ClickException(f"cannot write the synthetic patient: {error}") from error
    except BrokenProcessPool as error:
        raise click.ClickException("a process was killed: run the same command again to continue") from error


def _patient(*, out: Path, slices: int, **given: Any) -> Path:
    from segmenter.synth.series import SyntheticSeriesOptions, write_synthetic_series
    from segmenter.synth.series.options import Crop, Kernel, Position
    from segmenter.volume.femur import Side

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
        return write_synthetic_series(SyntheticSeriesOptions(slices=slices, **wanted), out, show["slices"])


def _cohort(count: int, workers: int, *, out: Path, seed: int, size: int, **_: Any) -> Path:
    from segmenter.synth.series.held_out_cohort import Cohort, write_cohort

    with bars(cases=count) as show:
        return write_cohort(Cohort(seed, size), count, out, workers, show["cases"])
