"""Train a fine network on cases and combine it with the coarse network of another model to a model folder."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from segmenter.training.options import TrainOptions
from segmenter.training.train import Trainer
from segmenter.vnet.weights import choose_device, model_digest, read_manifest, read_weights, weight_file, write_manifest

FINE_TUNING_RATE = 0.1  # of the learning rate from scratch, to keep what was learned


@dataclass(frozen=True)
class Fit:
    """How networks are trained on cases.

    start: model folder of the coarse network and the shape of the fine network, with `fine_tune` also its weights;
    None for the shipped model. loaders: processes that prepare crops.
    """

    start: Path | None = None
    fine_tune: bool = False
    steps: int = 1200
    seed: int = 1
    device: str = "auto"
    loaders: int = 1

    @property
    def model(self) -> Path:
        """The folder of the model to start from."""
        return self.start or Path(str(resources.files("segmenter"))) / "data" / "model"

    def described(self) -> dict[str, object]:
        """Return the settings that determine the result, and the digest of the model to start from."""
        digest = model_digest(read_manifest(self.model))
        return {"start": digest, "fine_tune": self.fine_tune, "steps": self.steps, "seed": self.seed}

    def options(self) -> TrainOptions:
        """Return the trainer's settings. Raises SegmenterError(MODEL) for a device or weights that cannot be used."""
        choose_device(self.device)
        weights = weight_file(self.model, "fine")
        shape = {key: value for key, value in vars(read_weights(weights).config).items() if key != "classes"}
        warm_up = min(TrainOptions.warm_up, self.steps // 4)
        plain = TrainOptions(
            "fine", self.steps, self.seed, warm_up=warm_up, device=self.device, loaders=self.loaders, **shape
        )
        if not self.fine_tune:
            return plain
        rate = plain.learning_rate * FINE_TUNING_RATE
        # Crops of few cases are a poorer sample than the one the statistics come from.
        return replace(plain, init=weights, learning_rate=rate, freeze_norm_after=0.0)


def fit(
    settings: Fit, training: Sequence[Path], validation: Sequence[Path], out: Path, on_step: Callable[[int], None]
) -> Path:
    """Train in `out/run` and return the model folder `out/model`; an interrupted run is continued.

    training and validation: folders of the pool; the latter is used only for the curve in the log.
    """
    trainer = Trainer(settings.options(), list(training), list(validation), out / "run")
    fine = trainer.run(lambda progress: on_step(progress.step))
    start = read_manifest(settings.model)
    model = out / "model"
    model.mkdir(exist_ok=True)
    shutil.copyfile(weight_file(settings.model, "coarse"), model / "coarse.safetensors")
    shutil.copyfile(fine, model / "fine.safetensors")
    write_manifest(model, f"{start['name']}-local", start["version"])
    return model
