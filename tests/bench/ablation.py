"""The effect of each choice of the training recipe: short trainings with equal budgets, one table.

    python tests/bench/ablation.py --out runs/ablation [--variants dice,ce] [--steps 300]

Every variant trains on the same patients with the same seed and number of steps, in a process of its own, and is
evaluated on the same held-out patients; a finished variant is not repeated. `without-PART` trains on patients drawn
without a part of the synthesis and is evaluated, as all are, on patients with it.
For investigational use.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean, pstdev
from typing import Any

import click
import numpy as np
from judging import judge_scans, judge_windows, one_stage, two_stages

from segmenter.synth import sampling
from segmenter.synth.patient import Patient
from segmenter.training import crops
from segmenter.training.curves import read_log
from segmenter.training.options import TrainOptions
from segmenter.training.pool import make_pool
from segmenter.training.train import Trainer
from segmenter.vnet.network import PRESETS, VNet
from segmenter.vnet.weights import choose_device, read_weights


@dataclass(frozen=True)
class Part:
    """A part of the synthesis and how to omit it. drawn: it is in the patients of the pool, not only in their crops."""

    what: str
    owner: Any
    name: str
    left_out: Callable[..., Any]
    drawn: bool = True

    @contextmanager
    def off(self) -> Iterator[None]:
        """Omit the part, in this process and in those forked from it."""
        kept = getattr(self.owner, self.name)
        setattr(self.owner, self.name, self.left_out)
        try:
            yield
        finally:
            setattr(self.owner, self.name, kept)


# The omitted part is drawn and discarded, so that independent parts do not change.
def no_contents(*drawn: Any, draw: Any = sampling.draw_contents) -> list[Any]:
    draw(*drawn)
    return []


def straight(rng: np.random.Generator, draw: Any = sampling.draw_swings) -> tuple[Any, Any]:
    left, right = draw(rng)
    return 0 * left, 0 * right


PARTS = {
    "roof": Part("the roof of the acetabulum fitted to the head", Patient, "_socket", lambda *_: 0.0),
    "contents": Part("vessels, bladder, bowel loops, lesions, forearm", sampling, "draw_contents", no_contents),
    "posture": Part("legs bent and turned", sampling, "draw_swings", straight),
    "artefacts": Part("beam hardening and streaks", sampling, "with_artefacts", lambda patient, *_: patient),
    "densities": Part("densities drawn apart in every crop", crops, "rebalanced", lambda image, *_: image, drawn=False),
    "scanner": Part("kernel, slice profile, noise, HU scale", crops, "scan", lambda image, *_: image, drawn=False),
    "cuts": Part("fields of view that cut", crops, "cut", lambda *example: example[:2], drawn=False),
}


@dataclass(frozen=True)
class Variant:
    """One line of the table: the difference from the shipped recipe. judged: on `windows` or on complete `scans`."""

    what: str
    changes: dict[str, Any] = field(default_factory=dict)
    judged: str = "windows"
    without: str = ""
    again: bool = False


PAPER = {k: v for k, v in PRESETS["milletari2016"].as_dict().items() if k != "classes"}
VARIANTS = {
    "base": Variant("Dice + L2, kernel 3, width 16, averaged weights"),
    "base-again": Variant("the same on other patients with other crops: what chance alone does", again=True),
    "dice": Variant("Dice only", {"l2": 0.0}),
    "dice-ce": Variant("Dice + cross-entropy + L2", {"ce": 1.0}),
    "ce": Variant("cross-entropy only", {"dice": 0.0, "ce": 1.0, "l2": 0.0}),
    "kernel-5": Variant("kernel 5", {"kernel": 5}),
    "width-8": Variant("width 8", {"width": 8}),
    "width-24": Variant("width 24", {"width": 24}),
    "milletari2016": Variant("the V-Net of the paper", {**PAPER, "freeze_norm_after": 1.0}),
    "last-weights": Variant("weights of the last step, not averaged", {"ema": 0.0}),
    "one-stage": Variant("one stage: the whole body at 4 mm, brought to the scan's grid", judged="scans"),
    "two-stages": Variant("two stages: the same network finds, the base network outlines", judged="scans"),
    **{f"without-{name}": Variant(f"without: {part.what}", without=name) for name, part in PARTS.items()},
}


@dataclass(frozen=True)
class Budget:
    """The settings shared by all variants.

    held_out: the number of patients, the first of each pool, for evaluation instead of training; as many full scans.
    crop: side of the fine network's crops, voxels; those of the coarse one shrink alike.
    """

    out: Path
    patients: int
    steps: int
    seed: int
    held_out: int
    crop: int
    device: str

    def described(self) -> dict[str, int]:
        """Return the settings that determine the figures."""
        return {key: value for key, value in vars(self).items() if key not in ("out", "device")}

    def run(self, name: str) -> Path:
        """Return the folder of a training run."""
        return self.out / "runs" / "-".join([name, *(str(value) for value in self.described().values())])

    def pool(self, without: str = "") -> list[Path]:
        """Return the patients, drawn without a part where it is in them."""
        part = PARTS.get(without)
        name = f"without-{without}" if part and part.drawn else "whole"
        return make_pool(self.out / "pools" / name, self.patients, self.seed)

    def again(self) -> "Budget":
        """Return the same with another seed."""
        return replace(self, seed=self.seed + 1000)

    def result(self, name: str) -> Path:
        """Return the path of a variant's figures."""
        return self.out / "results" / f"{self.run(name).name}.json"

    def train(self, name: str, stage: str, changes: dict[str, Any], without: str = "") -> VNet:
        """Return a trained network; a finished run is reused, an interrupted one continued."""
        # loaders: a crop made in another process would contain the omitted part
        plan = {"seed": self.seed, "loaders": 0, "warm_up": min(50, self.steps // 4), "device": self.device, **changes}
        options = TrainOptions(stage, self.steps, **plan)  # type: ignore[arg-type]
        shape = tuple(round(size * self.crop / 72 / 8) * 8 for size in crops.STAGES[stage].crop)
        crops.STAGES[stage] = replace(crops.STAGES[stage], crop=shape)
        with PARTS[without].off() if without else nullcontext():
            trainer = Trainer(options, self.pool(without)[self.held_out :], [], self.run(name))
            weights = trainer.run(lambda at: print(f"{name} {at.step}/{at.steps}, {at}") if at.step % 25 == 0 else None)
        return read_weights(weights).to(choose_device(self.device))


def seconds_per_step(run: Path) -> float:
    """Return the mean duration of a step of a run."""
    last = read_log(run / "log.csv")[-1]
    return last.seconds / last.step


def measure(name: str, variant: Variant, budget: Budget) -> dict[str, Any]:
    """Train the networks of a variant, evaluate them, and return the figures."""
    if variant.judged == "windows":
        own = budget.again() if variant.again else budget
        run, network = own.run(name), own.train(name, "fine", variant.changes, variant.without)
        scores = list(judge_windows(network, budget.pool()[: budget.held_out], budget.seed))
    else:
        run, network = budget.run("coarse"), budget.train("coarse", "coarse", {"width": 12})
        outline = one_stage(network)
        if name == "two-stages":
            run, coarse, network = budget.run("base"), network, budget.train("base", "fine", {})
            outline = two_stages(coarse, network, budget.device)
        scores = list(judge_scans(outline, budget.out / "scans", budget.held_out, budget.seed))
    return {
        "what": variant.what,
        "judged": variant.judged,
        "dice": [a for a, _ in scores],
        "volume_ratio": [b for _, b in scores],
        "seconds_per_step": seconds_per_step(run),
        "parameters": sum(p.numel() for p in network.parameters()),
    }


def table(results: dict[str, dict[str, Any]], budget: Budget) -> str:
    """Return the results as markdown, windows and scans apart."""
    lines = [
        f"Synthetic patients, for investigational use. {budget.steps} steps of each network on "
        f"{budget.patients - budget.held_out} patients, two crops of {budget.crop} cubed a step, seed {budget.seed}, "
        f"judged on {budget.held_out} others. "
        "Compare lines, not with the shipped weights, which train longer."
    ]
    for judged, title in (
        ("windows", "Hip windows at 1.5 mm"),
        ("scans", "Whole scans, families of shapes kept apart"),
    ):
        lines += ["", f"## {title}", "", "| variant | what | Dice mean | Dice lowest | volume found / true | "
                  "s per step | parameters |", "|---|---|---|---|---|---|---|"]  # fmt: skip
        for name, r in results.items():
            if r["judged"] == judged:
                ratio = f"{mean(r['volume_ratio']):.3f} ± {pstdev(r['volume_ratio']):.3f}"
                lines.append(
                    f"| {name} | {r['what']} | {mean(r['dice']):.4f} | {min(r['dice']):.4f} | {ratio} "
                    f"| {r['seconds_per_step']:.2f} | {r['parameters'] / 1e6:.2f} M |"
                )
    return "\n".join(lines) + "\n"


@click.command()
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path))
@click.option("--variants", default="", help=f"Some of {', '.join(VARIANTS)}, separated by commas; default: all.")
@click.option("--patients", default=32, show_default=True, type=click.IntRange(2))
@click.option("--steps", default=300, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0))
@click.option("--held-out", default=8, show_default=True, type=click.IntRange(1))
@click.option("--crop", default=72, show_default=True, help="Side of the fine network's crops, voxels; coarse alike.")
@click.option("--device", default="auto", show_default=True)
@click.option("--inside", hidden=True, help="The one variant that this process measures.")
def main(variants: str, inside: str | None, **equal: Any) -> None:
    """Train and evaluate the variants that are not finished yet, then write OUT/ablation.md with all finished ones."""
    budget = Budget(**equal)
    if budget.held_out >= budget.patients:
        raise click.UsageError(f"{budget.patients} patients leave none to train on when {budget.held_out} are held out")
    chosen = [inside] if inside else variants.split(",") if variants else list(VARIANTS)
    if unknown := set(chosen) - set(VARIANTS):
        raise click.UsageError(f"there is no variant {', '.join(sorted(unknown))}: choose from {', '.join(VARIANTS)}")
    if inside:
        result = measure(inside, VARIANTS[inside], budget)
        budget.result(inside).write_text(json.dumps({"budget": budget.described(), **result}, indent=2))
        return
    (budget.out / "results").mkdir(parents=True, exist_ok=True)
    for name in chosen:
        if not budget.result(name).exists():
            subprocess.run([sys.executable, *sys.argv, "--inside", name], check=False)
        if not budget.result(name).exists():
            print(f"{name} could not be measured", file=sys.stderr)
    done = {name: budget.result(name) for name in VARIANTS if budget.result(name).exists()}
    text = table({name: json.loads(path.read_text()) for name, path in done.items()}, budget)
    (budget.out / "ablation.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
