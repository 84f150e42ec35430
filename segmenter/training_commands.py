"""The commands that make and judge networks: `train`."""

from pathlib import Path

import click

from segmenter.progress import bars


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
    with bars(patients=patients, coarse=coarse_steps, fine=fine_steps) as show:
        model = train_model(recipe, out, workers, show["patients"], lambda stage, at: show[stage](at.step))
    click.echo(model)
