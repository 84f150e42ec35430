"""What each choice of the recipe is worth: short trainings with equal budgets, one table.

    python tests/bench/ablation.py --pool runs/shipped/pool --out runs/ablation [--variants dice,ce] [--steps 300]

Every variant trains on the same patients with the same seed and number of steps, in a process of its own, and is judged
on the same held-out patients; a variant that is done is not done again. A pool rendered with a part of the synthesis
switched off is one more variant: `--without bowel=DIR`. For investigational use; the patients are synthetic.
"""

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, pstdev
from typing import Any

import click
from judging import judge_scans, judge_windows, one_stage, two_stages

from segmenter.network import PRESETS, VNet
from segmenter.training.curves import read_log
from segmenter.training.options import TrainOptions
from segmenter.training.train import Trainer
from segmenter.weights import choose_device, read_weights

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@dataclass(frozen=True)
class Variant:
    """One line of the table: what differs from the shipped recipe. judged: on `windows` or on whole `scans`."""

    what: str
    changes: dict[str, Any] = field(default_factory=dict)
    judged: str = "windows"


PAPER = {k: v for k, v in PRESETS["milletari2016"].as_dict().items() if k != "classes"}
VARIANTS = {
    "base": Variant("Dice + L2, kernel 3, width 16, averaged weights"),
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
}


@dataclass(frozen=True)
class Budget:
    """What is equal for all variants.

    held_out: how many patients, the first of each pool, are judged on instead of trained on; and as many whole scans.
    """

    pool: Path
    out: Path
    steps: int
    seed: int
    held_out: int
    device: str

    def described(self, pool: str | None) -> dict[str, Any]:
        """Return what decides about a variant's figures, with the pool it alone is trained on, if there is one."""
        equal = {"pool": str(self.pool), "steps": self.steps, "seed": self.seed, "held_out": self.held_out}
        return {**equal, "trained_on": pool or str(self.pool)}

    def run(self, name: str) -> Path:
        """Return the folder of a training run."""
        return self.out / "runs" / f"{name}-{self.steps}-{self.seed}-{self.held_out}"

    def result(self, name: str) -> Path:
        """Return where a variant's figures are."""
        return self.out / "results" / f"{name}.json"

    def train(self, name: str, stage: str, changes: dict[str, Any], pool: Path | None = None) -> VNet:
        """Return a trained network; a run that is done or broken is taken up."""
        plan = {"warm_up": min(50, self.steps // 4), "device": self.device, **changes}
        options = TrainOptions(stage, self.steps, self.seed, **plan)  # type: ignore[arg-type]
        seen = patients_of(pool or self.pool)
        if len(seen) <= self.held_out:
            raise click.ClickException(f"the pool holds {len(seen)} patients: more than {self.held_out} are needed")
        trainer = Trainer(options, seen[self.held_out :], [], self.run(name))
        weights = trainer.run(lambda at: print(f"{name} {at.step}/{at.steps}, {at}") if at.step % 25 == 0 else None)
        return read_weights(weights).to(choose_device(self.device))

    def seconds_per_step(self, name: str) -> float:
        """Return how long a step of a run took on average."""
        last = read_log(self.run(name) / "log.csv")[-1]
        return last.seconds / last.step


def patients_of(pool: Path) -> list[Path]:
    """Return the patients of a pool in their order."""
    return sorted(path for path in pool.iterdir() if path.is_dir() and path.suffix != ".part")


def measure(name: str, variant: Variant, budget: Budget, pool: Path | None) -> dict[str, Any]:
    """Train what a variant needs, judge it, and return its figures."""
    if variant.judged == "windows":
        run, network = name, budget.train(name, "fine", variant.changes, pool)
        scores = list(judge_windows(network, patients_of(budget.pool)[: budget.held_out], budget.seed))
    else:
        run, network = "coarse", budget.train("coarse", "coarse", {"width": 12})
        outline = one_stage(network)
        if name == "two-stages":
            run, coarse, network = "base", network, budget.train("base", "fine", {})
            outline = two_stages(coarse, network, budget.device)
        scores = list(judge_scans(outline, budget.out / "scans", budget.held_out, budget.seed))
    return {
        "what": variant.what,
        "judged": variant.judged,
        "dice": [a for a, _ in scores],
        "volume_ratio": [b for _, b in scores],
        "seconds_per_step": budget.seconds_per_step(run),
        "parameters": sum(p.numel() for p in network.parameters()),
    }


def table(results: dict[str, dict[str, Any]], budget: Budget) -> str:
    """Return the results as markdown, windows and scans apart."""
    lines = [
        f"Synthetic patients, for investigational use. {budget.steps} steps of each network, seed {budget.seed}, "
        f"{budget.held_out} held-out patients. Compare lines, not with the shipped weights, which train longer."
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
@click.option("--pool", required=True, type=FOLDER, help="Patients to train and judge on (OUT/pool of a train run).")
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path))
@click.option("--variants", default="", help=f"Some of {', '.join(VARIANTS)}, separated by commas; default: all.")
@click.option("--without", multiple=True, metavar="NAME=POOL", help="A pool with a part of the synthesis off.")
@click.option("--steps", default=300, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0))
@click.option("--held-out", default=8, show_default=True, type=click.IntRange(1))
@click.option("--device", default="auto", show_default=True)
@click.option("--inside", hidden=True, help="The one variant that this process measures.")
def main(variants: str, without: tuple[str, ...], inside: str | None, **equal: Any) -> None:
    """Train and judge the variants that are not done yet, then write OUT/ablation.md."""
    budget = Budget(**equal)
    pools = dict(entry.split("=", 1) for entry in without)
    known = VARIANTS | {f"without-{part}": Variant(f"synthesis without {part}") for part in pools}
    chosen = [inside] if inside else variants.split(",") if variants else list(known)
    if unknown := set(chosen) - set(known):
        raise click.UsageError(f"there is no variant {', '.join(sorted(unknown))}: choose from {', '.join(known)}")
    if inside:
        pool = pools.get(inside.removeprefix("without-"))
        result = measure(inside, known[inside], budget, Path(pool) if pool else None)
        budget.result(inside).write_text(json.dumps({"budget": budget.described(pool), **result}, indent=2))
        return
    (budget.out / "results").mkdir(parents=True, exist_ok=True)
    results = {}
    for name in chosen:
        path, described = budget.result(name), budget.described(pools.get(name.removeprefix("without-")))
        if path.exists() and json.loads(path.read_text())["budget"] != described:
            path.unlink()
        if not path.exists():
            subprocess.run([sys.executable, *sys.argv, "--inside", name], check=False)
        if not path.exists():
            print(f"{name} could not be measured", file=sys.stderr)
            continue
        results[name] = json.loads(path.read_text())
    text = table(results, budget)
    (budget.out / "ablation.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
