"""What a training run leaves to look at: `log.csv`, one row per step, and `curves.png`, the picture of it."""

import csv
import logging
import math
from dataclasses import dataclass, fields
from pathlib import Path

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """One step: its loss, the Dice on held-out crops where one was taken, learning rate, seconds since the start."""

    step: int
    loss: float
    dice: float | None
    learning_rate: float
    seconds: float


class RunLog:
    """The log of one run in its folder; rows after `step`, written by a run that broke, are taken away."""

    def __init__(self, folder: Path, step: int = 0) -> None:
        self.path, self.picture = folder / "log.csv", folder / "curves.png"
        self.drawn = True
        rows = read_log(self.path) if self.path.exists() else []
        with self.path.open("w", newline="") as stream:
            csv.writer(stream).writerow([field.name for field in fields(Row)])
        self.add(*(row for row in rows if row.step <= step))

    def add(self, *rows: Row) -> None:
        """Write rows."""
        with self.path.open("a", newline="") as stream:
            for row in rows:
                dice = "" if row.dice is None else f"{row.dice:.5f}"
                values = [row.step, f"{row.loss:.5f}", dice, f"{row.learning_rate:.3g}", f"{row.seconds:.1f}"]
                csv.writer(stream).writerow(values)

    def draw(self) -> None:
        """Write the picture; without matplotlib there is none, which is said once."""
        if not self.drawn:
            return
        try:
            draw_curves(read_log(self.path), self.picture)
        except ImportError:
            self.drawn = False
            log.warning("no %s: matplotlib is not installed (pip install 'qct-node[train]')", self.picture.name)


def read_log(path: Path) -> list[Row]:
    """Return the rows of a log; a last row that was cut off is left out."""
    with path.open(newline="") as stream:
        rows = []
        for line in csv.DictReader(stream):
            try:
                step, loss, dice, rate, seconds = (float(line[field.name] or "nan") for field in fields(Row))
            except (TypeError, KeyError, ValueError):
                break
            rows.append(Row(int(step), loss, None if math.isnan(dice) else dice, rate, seconds))
    return rows


def draw_curves(rows: list[Row], path: Path) -> None:
    """Draw loss and learning rate above, Dice below, over the steps. Raises ImportError without matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    steps = [row.step for row in rows]
    above.plot(steps, [row.loss for row in rows], linewidth=0.6, color="tab:blue")
    above.set(yscale="log", ylabel="loss", title="for investigational use")
    rate = above.twinx()
    rate.plot(steps, [row.learning_rate for row in rows], color="tab:grey", linewidth=0.8)
    rate.set_ylabel("learning rate")
    measured = [(row.step, row.dice) for row in rows if row.dice is not None]
    below.plot([step for step, _ in measured], [dice for _, dice in measured], marker="o", color="tab:green")
    below.set(xlabel="step", ylabel="Dice, held-out crops")
    temporary = path.with_name(path.name + ".part")
    figure.savefig(temporary, format="png", dpi=100)
    temporary.replace(path)
