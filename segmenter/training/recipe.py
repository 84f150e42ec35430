"""The whole recipe from nothing to a model folder: pool, coarse network, fine network, manifest."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from segmenter.training.pool import make_pool
from segmenter.training.train import Progress, Trainer, TrainOptions
from segmenter.weights import write_manifest


@dataclass(frozen=True)
class Recipe:
    """What the shipped weights were made with; `seed` makes the patients and the crops."""

    patients: int = 160
    coarse_patients: int = 110  # the coarse network learns sooner: it sees the first of the pool only
    coarse_steps: int = 500
    fine_steps: int = 1200
    coarse_width: int = 12
    fine_width: int = 16
    seed: int = 1
    name: str = "qct-vnet"
    version: str = "0.1.0"
    device: str = "auto"

    def stages(self) -> tuple[TrainOptions, TrainOptions]:
        """Return the settings of both runs."""
        return (
            TrainOptions("coarse", self.coarse_steps, self.seed, width=self.coarse_width, device=self.device),
            TrainOptions("fine", self.fine_steps, self.seed, width=self.fine_width, device=self.device),
        )


def train_model(
    recipe: Recipe,
    out: Path,
    workers: int,
    on_patient: Callable[[int], None] = lambda _: None,
    on_step: Callable[[str, Progress], None] = lambda *_: None,
) -> Path:
    """Make a model folder below `out` and return it; what an interrupted run left there is taken up."""
    patients = make_pool(out / "pool", recipe.patients, recipe.seed, workers, on_patient)
    model = out / "model"
    model.mkdir(parents=True, exist_ok=True)
    for options in recipe.stages():
        seen = patients[: recipe.coarse_patients] if options.stage == "coarse" else patients
        held_out = max(1, len(seen) // 10)
        trainer = Trainer(options, seen[held_out:], seen[:held_out], out / options.stage)
        weights = trainer.run(lambda progress, stage=options.stage: on_step(stage, progress))  # type: ignore[misc]
        (model / weights.name).write_bytes(weights.read_bytes())
    write_manifest(model, recipe.name, recipe.version)
    return model
