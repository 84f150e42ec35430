"""The training loop of one stage (docs/evidence/model-card.md has the settings of the shipped weights)."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from segmenter.errors import Reason, SegmenterError, Verdict
from segmenter.training.crops import STAGES, Crops
from segmenter.training.curves import Row, RunLog
from segmenter.training.loss import compound_loss, hard_dice
from segmenter.training.options import MAY_CHANGE, TrainOptions
from segmenter.vnet.network import VNet
from segmenter.vnet.weights import choose_device, make_deterministic, read_weights, save_weights

VALIDATION_CROPS = 16


@dataclass(frozen=True)
class Progress:
    """What the loop says after every step; validation, a Dice, is None where none was made."""

    step: int
    steps: int
    loss: float
    seconds_per_step: float  # since this process began
    validation: float | None

    def __str__(self) -> str:
        """Return what a person watches beside the count."""
        return f"loss {self.loss:.3f}, {self.seconds_per_step:.2g} s per step"


class Trainer:
    """One run in one folder: checkpoints, `log.csv`, at the end the weights. A broken run is taken up again.

    `training` and `validation` are folders of the pool; without validation the log has no Dice. Raises
    SegmenterError(MODEL) when the folder holds a run with other settings or `init` another network.
    """

    def __init__(self, options: TrainOptions, training: list[Path], validation: list[Path], out: Path) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self.options, self.out = options, out
        self.training, self.validation = training, validation
        self.device = choose_device(options.device)
        make_deterministic()
        torch.manual_seed(options.seed)
        resumed = (out / "checkpoint.pt").exists()
        network = VNet(options.network) if resumed or options.init is None else start_from(options)
        self.network = network.to(self.device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.average = averaged(self.network, options.ema)
        self.optimiser = torch.optim.Adam(self.network.parameters(), options.learning_rate)
        self.step, self.seconds = 0, 0.0
        if resumed:
            self._resume()
        self.log = RunLog(out, self.step)
        (out / "options.json").write_text(json.dumps(options.as_dict(), indent=2) + "\n")

    def run(self, on_step: Callable[[Progress], None]) -> Path:
        """Train to the last step and write the averaged weights; returns their path."""
        if self.step < self.options.steps:
            self._train(on_step)
        path = self.out / f"{self.options.stage}.safetensors"
        average = self.average.module
        assert isinstance(average, VNet)
        save_weights(average, path)
        return path

    def _train(self, on_step: Callable[[Progress], None]) -> None:
        o, stage = self.options, STAGES[self.options.stage]
        crops = Crops(self.training, stage, o.seed, start=self.step * o.batch)
        ahead = {"prefetch_factor": 4, "multiprocessing_context": "spawn"} if o.loaders else {}
        loader = DataLoader(crops, batch_size=o.batch, num_workers=o.loaders, **ahead)  # type: ignore[arg-type]
        held_out: list[Any] = []
        if self.validation:
            held_out += islice(DataLoader(Crops(self.validation, stage, 0), batch_size=1), VALIDATION_CROPS)
        begin, before, first = time.monotonic(), self.seconds, self.step
        for image, target in islice(loader, o.steps - self.step):
            loss = self._train_step(image, target)
            self.step += 1
            due = self.step % o.save_every == 0 or self.step == o.steps
            validation = self._validate(held_out) if due and held_out else None
            taken = time.monotonic() - begin
            self.seconds = before + taken
            self.log.add(Row(self.step, loss, validation, self._learning_rate(self.step - 1), self.seconds))
            if due:
                self._checkpoint()
                self.log.draw()
            on_step(Progress(self.step, o.steps, loss, taken / (self.step - first), validation))

    def _train_step(self, image: Tensor, target: Tensor) -> float:
        o = self.options
        # What is drawn at a step (dropout) depends on the seed and the step only, also after a break.
        torch.manual_seed(o.seed * 1_000_003 + self.step)
        self.network.train()
        if self.step >= o.freeze_norm_after * o.steps:
            for module in self.network.modules():
                if isinstance(module, nn.BatchNorm3d):
                    module.eval()
        for group in self.optimiser.param_groups:
            group["lr"] = self._learning_rate(self.step)
        loss = compound_loss(self.network, self._forward(self.network, image), target.to(self.device), o)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.average.update_parameters(self.network)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise _error(f"the loss is {value} at step {self.step + 1}: take a lower learning_rate")
        return value

    def _forward(self, network: nn.Module, image: Tensor) -> Tensor:
        image = image.to(self.device, memory_format=torch.channels_last_3d)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=has_bfloat16(self.device)):
            logits: Tensor = network(image)
        return logits

    def _learning_rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0: a linear warm-up, then half a cosine down to 2 %."""
        o = self.options
        if step < o.warm_up:
            return o.learning_rate * (step + 1) / o.warm_up
        through = (step - o.warm_up) / max(o.steps - o.warm_up, 1)
        return o.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(through, 1.0))))

    def _validate(self, held_out: list[Any]) -> float:
        """Return the hard Dice over all held-out crops, the mean over the classes, of the averaged weights."""
        self.average.eval()
        with torch.no_grad():
            counts = [hard_dice(self._forward(self.average, i), t.to(self.device)) for i, t in held_out]
        overlap, size = (torch.stack(part).sum(dim=0) for part in zip(*counts, strict=True))
        return float(((overlap + 1) / (size + 1)).mean())

    def _checkpoint(self) -> None:
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "options": self.options.as_dict(),
        }
        temporary = self.out / "checkpoint.part"
        torch.save(state, temporary)
        temporary.replace(self.out / "checkpoint.pt")

    def _resume(self) -> None:
        state = torch.load(self.out / "checkpoint.pt", map_location=self.device, weights_only=True)
        if "average" not in state:
            raise _error(
                f"{self.out} holds a run of an earlier version without averaged weights: choose another folder"
            )
        now = self.options.as_dict()
        before = TrainOptions(self.options.stage, self.options.steps).as_dict() | state["options"]
        keys = [key for key in before | now if key not in MAY_CHANGE and before.get(key) != now.get(key)]
        other = [f"{key} {before.get(key)!r}, now {now.get(key)!r}" for key in keys]
        if other:
            raise _error(f"{self.out} holds a run with other settings ({'; '.join(other)}): choose another folder")
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds = int(state["step"]), float(state["seconds"])


def start_from(options: TrainOptions) -> VNet:
    """Return the network stored in `options.init`. Raises SegmenterError(MODEL) when it is another one."""
    assert options.init is not None
    if not options.init.is_file():
        raise _error(f"there are no weights to start from at {options.init}")
    network = read_weights(options.init)
    if network.config != options.network:
        raise _error(f"{options.init} holds the network {network.config}, and this run trains {options.network}")
    return network


def averaged(network: nn.Module, keep: float) -> AveragedModel:
    """Return the running average of a network, statistics of the normalisation included.

    After n steps at most (1 + n) / (10 + n) of it is kept, so that the first, random weights are soon forgotten.
    """

    def average(mean: Any, current: Any, count: Tensor | int) -> None:
        n = float(count)
        lerp = get_ema_multi_avg_fn(min(keep, (1 + n) / (10 + n)))  # type: ignore[no-untyped-call]
        lerp(mean, current, count)

    return AveragedModel(network, multi_avg_fn=average, use_buffers=True)


def has_bfloat16(device: torch.device) -> bool:
    """Return whether the device computes in bfloat16 itself: a CPU does, a GPU since Ampere."""
    return device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)


def _error(message: str) -> SegmenterError:
    return SegmenterError(Reason.MODEL, message, Verdict.FAILED)
