"""The command `train`."""

from pathlib import Path
from typing import Any

import click

from segmenter.commands.cases import DISTAL, FOLDER, PLAIN_ERRORS, read_checked_cases
from segmenter.commands.out_folder import OUT
from segmenter.commands.progress import bars

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
SYNTHESIS_OPTIONS = {"config", "patients", "coarse_steps", "fine_steps"}
CASE_OPTIONS = {"protocol", "start", "fine_tune", "steps", "folds", "distal"}


@click.command()
@click.option("--out", required=True, type=OUT, help="Pool, runs and model.")
@click.option("--config", type=FILE, help="Settings of the run (TOML); default: those of the shipped run.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0))
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option(
    "--workers", default=2, show_default=True, type=click.IntRange(0), help="Processes that prepare examples."
)
@click.option("--patients", type=click.IntRange(2), help="Synthetic patients.")
@click.option("--coarse-steps", type=click.IntRange(1))
@click.option("--fine-steps", type=click.IntRange(1))
@click.option("--cases", type=FOLDER, help="Train the fine network on these cases instead (docs/evidence/protocol.md).")
@click.option("--protocol", type=click.Choice(["zhao2020"]), help="With --cases: cross-validation and held-out test.")
@click.option("--start", type=FOLDER, help="With --cases: model to start from; default: the shipped one.")
@click.option("--fine-tune", is_flag=True, help="With --cases: also start from its fine network.")
@click.option(
    "--steps", default=1200, show_default=True, type=click.IntRange(1), help="With --cases: steps for each network."
)
@click.option(
    "--folds", default=10, show_default=True, type=click.IntRange(2), help="With --protocol: number of folds."
)
@click.option("--distal", default=0.0, show_default=True, type=click.FloatRange(0), help=f"With --protocol. {DISTAL}")
@click.pass_context
def train(ctx: click.Context, /, cases: Path | None, **given: Any) -> None:
    """Train networks; an interrupted run is continued. For investigational use.

    Without --cases, both networks learn from synthetic patients; the defaults are the shipped recipe, and options
    override --config. With --cases, the fine network learns from your own scans: from all of them, or by the paper's
    protocol.
    """
    chosen = {name for name in given if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE}
    fault, refused = ("cannot be used with", SYNTHESIS_OPTIONS) if cases else ("needs", CASE_OPTIONS)
    for name in sorted(refused & chosen):
        raise click.UsageError(f"--{name.replace('_', '-')} {fault} --cases")
    if not given["protocol"]:
        for name in sorted({"folds", "distal"} & chosen):
            raise click.UsageError(f"--{name} needs --protocol")
    try:
        click.echo(_on_cases(cases, **given) if cases else _on_synthesis(given, chosen))
    except PLAIN_ERRORS as error:
        raise click.ClickException(str(error)) from error


def _on_synthesis(given: dict[str, Any], chosen: set[str]) -> Path:
    from segmenter.training.recipe import load_recipe, train_model

    overrides: dict[str, Any] = {name: given[name] for name in ("seed", "device", "patients") if name in chosen}
    for network in ("coarse", "fine"):
        overrides[network] = {"loaders": given["workers"]} if "workers" in chosen else {}
        if f"{network}_steps" in chosen:
            overrides[network]["steps"] = given[f"{network}_steps"]
    recipe = load_recipe(given["config"], overrides)
    with bars(patients=recipe.patients, coarse=recipe.coarse.steps, fine=recipe.fine.steps) as show:
        return train_model(
            recipe,
            given["out"],
            max(given["workers"], 1),
            show["patients"],
            lambda name, at: show[name](at.step, str(at)),
        )


def _on_cases(folder: Path, *, out: Path, protocol: str | None, folds: int, distal: float, **given: Any) -> Path:
    from segmenter.evaluation.fitting import Fit
    from segmenter.evaluation.plots import require_matplotlib
    from segmenter.evaluation.progress import ProtocolProgress
    from segmenter.evaluation.protocol import Protocol, train_on_all
    from segmenter.evaluation.splits import split_cohorts

    chosen = {name: given[name] for name in ("start", "fine_tune", "steps", "seed", "device")}
    settings = Fit(**chosen, loaders=given["workers"])
    cases = read_checked_cases(folder)
    if protocol is None:
        with bars(prepare=len(cases), steps=settings.steps) as show:
            return train_on_all(cases, settings, out, ProtocolProgress(show["prepare"], show["steps"]))
    require_matplotlib()
    splits = split_cohorts(cases, folds, settings.seed)
    totals = {"prepare": len(cases), "steps": settings.steps * folds * len(splits)}
    with bars(**totals, measure=sum(len(split.cases) for split in splits.values())) as show:
        Protocol(splits, settings, out, ProtocolProgress(show["prepare"], show["steps"], show["measure"]), distal).run()
    return out
