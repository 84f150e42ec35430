"""The training loop of one stage; it made the shipped weights (the model card has seeds and settings)."""

import csv
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from segmenter.locate import CoarseClass
from segmenter.network import VNet, VNetConfig
from segmenter.training.crops import STAGES, Crops
from segmenter.training.loss import compound_loss, dice_loss
from segmenter.weights import choose_device, save_weights

CLASSES = {"coarse": len(CoarseClass), "fine": 2}
VALIDATION_CROPS = 16


@dataclass(frozen=True)
class TrainOptions:
    """Settings of one run; together with the pool's seed they determine the weights on one kind of machine."""

    stage: str
    steps: int
    seed: int = 1
    batch: int = 2
    width: int = 16
    convs: tuple[int, ...] = (1, 2, 2, 2)
    kernel: int = 3
    learning_rate: float = 2e-3
    l2: float = 1e-5
    warm_up: int = 50
    freeze_norm_after: float = 0.6  # then the statistics stay as they will be in use: a batch of two is a poor sample
    save_every: int = 100
    device: str = "auto"
    loaders: int = 1  # processes that prepare crops; 0 prepares them in between


@dataclass(frozen=True)
class Progress:
    """What the loop says after every step; validation is None where none was made."""

    step: int
    steps: int
    loss: float
    seconds: float
    validation: float | None


class Trainer:
    """One run in one folder: checkpoints, `log.csv`, at the end the weights. A broken run is taken up again."""

    def __init__(self, options: TrainOptions, patients: list[Path], out: Path) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self.options, self.out = options, out
        held_out = max(1, len(patients) // 10)
        self.training, self.validation = patients[held_out:], patients[:held_out]
        self.device = choose_device(options.device)
        # Gradients of a saturated softmax are denormal numbers, on which a CPU is several times slower.
        torch.set_flush_denormal(True)
        torch.manual_seed(options.seed)
        config = VNetConfig(CLASSES[options.stage], options.width, options.convs, options.kernel)
        self.network = VNet(config).to(self.device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.optimiser = torch.optim.Adam(self.network.parameters(), options.learning_rate)
        self.step = 0
        self._resume()
        (out / "options.json").write_text(json.dumps(asdict(options), indent=2) + "\n")

    def run(self, on_step: Callable[[Progress], None]) -> Path:
        """Train to the last step and write the weights; returns their path."""
        o = self.options
        crops = Crops(self.training, STAGES[o.stage], o.seed, start=self.step * o.batch)
        ahead = {"prefetch_factor": 4, "multiprocessing_context": "spawn"} if o.loaders else {}
        loader = DataLoader(crops, batch_size=o.batch, num_workers=o.loaders, **ahead)  # type: ignore[arg-type]
        held = [
            batch
            for batch, _ in zip(
                DataLoader(Crops(self.validation, STAGES[o.stage], 0), batch_size=1),
                range(VALIDATION_CROPS),
                strict=False,
            )
        ]
        begin = time.monotonic()
        for image, label in loader:
            if self.step >= o.steps:
                break
            loss = self._train_step(image, label)
            self.step += 1
            due = self.step % o.save_every == 0 or self.step == o.steps
            validation = self._validate(held) if due else None
            if due:
                self._checkpoint()
            self._log(loss, validation)
            on_step(Progress(self.step, o.steps, loss, time.monotonic() - begin, validation))
        path = self.out / f"{o.stage}.safetensors"
        save_weights(self.network, path)
        return path

    def _train_step(self, image: Tensor, label: Tensor) -> float:
        o = self.options
        self.network.train()
        if self.step >= o.freeze_norm_after * o.steps:
            for module in self.network.modules():
                if isinstance(module, nn.BatchNorm3d):
                    module.eval()
        for group in self.optimiser.param_groups:
            group["lr"] = o.learning_rate * self._schedule()
        logits = self._forward(image)
        loss = compound_loss(self.network, logits, label.to(self.device), o.l2)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        return float(loss.detach())

    def _forward(self, image: Tensor) -> Tensor:
        image = image.to(self.device, memory_format=torch.channels_last_3d)
        with torch.autocast(self.device.type, torch.bfloat16):
            logits: Tensor = self.network(image)
        return logits

    def _schedule(self) -> float:
        """Return the share of the learning rate: a linear warm-up, then half a cosine down to 2 %."""
        o = self.options
        if self.step < o.warm_up:
            return (self.step + 1) / o.warm_up
        through = (self.step - o.warm_up) / max(o.steps - o.warm_up, 1)
        return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(through, 1.0)))

    def _validate(self, held: list[Any]) -> float:
        """Return the mean Dice over held-out crops, with the network as it will be in use."""
        self.network.eval()
        with torch.no_grad():
            losses = [float(dice_loss(self._forward(image), label.to(self.device))) for image, label in held]
        return 1 - sum(losses) / len(losses)

    def _log(self, loss: float, validation: float | None) -> None:
        with (self.out / "log.csv").open("a", newline="") as stream:
            csv.writer(stream).writerow([self.step, f"{loss:.5f}", "" if validation is None else f"{validation:.5f}"])

    def _checkpoint(self) -> None:
        state = {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
        }
        temporary = self.out / "checkpoint.part"
        torch.save(state, temporary)
        temporary.replace(self.out / "checkpoint.pt")

    def _resume(self) -> None:
        path = self.out / "checkpoint.pt"
        if path.exists():
            state = torch.load(path, map_location=self.device, weights_only=True)
            self.network.load_state_dict(state["network"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.step = int(state["step"])
