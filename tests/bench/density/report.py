"""The tables and the Bland-Altman picture of the density truth test."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from bench.density.rows import Row

mpl.use("Agg")
from matplotlib import pyplot as plt

WITHIN_PERCENT = 1.0
BEYOND = "sharp kernel"  # omitted from the picture, where it would hide all other groups
LOOKS = {
    "plain": ("o", "#0072b2"),
    "beam hardening": ("^", "#d55e00"),
    "soft kernel": ("v", "#009e73"),
    "sharp kernel": ("x", "#cc79a7"),
    "fine pixels": ("s", "#000000"),
}
WAYS = {
    "calibration alone: true mask, phantom's line against the true line": ("true_mask", "as_scanned"),
    "true mask, phantom's line": ("true_mask", "known"),
    "own mask, phantom's line": ("own_mask", "known"),
    "true mask, line of a scanner that has not drifted": ("certificate", "known"),
}


@dataclass(frozen=True)
class Agreement:
    """Of measured minus known densities: bias and 95 % limits (bias +- 1.96 SD), mg/cm3, and the same in percent."""

    count: int
    bias: float
    low: float
    high: float
    bias_percent: float
    sd_percent: float
    worst_percent: float
    within: int


def agreement(pairs: Sequence[tuple[float, float]]) -> Agreement:
    """Return how measured densities agree with known ones, `(measured, known)` in mg/cm3; at least two."""
    measured, known = np.array(pairs, float).T
    off, percent = measured - known, 100 * (measured / known - 1)
    spread = 1.96 * float(off.std(ddof=1))
    return Agreement(
        len(pairs),
        float(off.mean()),
        float(off.mean()) - spread,
        float(off.mean()) + spread,
        float(percent.mean()),
        float(percent.std(ddof=1)),
        float(percent[np.abs(percent).argmax()]),
        int((np.abs(percent) <= WITHIN_PERCENT).sum()),
    )


def pairs(rows: Sequence[Row], what: str, known: str = "known") -> list[tuple[float, float]]:
    """Return `(measured, known)` of two columns, where there is a measured value."""
    return [(value, getattr(row, known)) for row in rows if (value := getattr(row, what)) is not None]


def table(rows: Sequence[Row]) -> str:
    """Return the table of all groups and ways of measuring, in Markdown."""
    lines = [
        "| group | what is compared | femurs | bias, mg/cm3 | 95 % limits, mg/cm3 | bias, % | SD, % | worst, % | "
        "within 1 % |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for group in LOOKS:
        mine = [row for row in rows if row.group == group]
        for name, (what, known) in WAYS.items():
            found = pairs(mine, what, known)
            if len(found) < 2:
                continue
            a = agreement(found)
            lines.append(
                f"| {group} | {name} | {a.count} | {a.bias:+.2f} | {a.low:+.2f} to {a.high:+.2f} "
                f"| {a.bias_percent:+.2f} | {a.sd_percent:.2f} | {a.worst_percent:+.2f} | {a.within} |"
            )
    return "\n".join(lines)


def cases_table(rows: Sequence[Row]) -> str:
    """Return the table of all cases, the mean of both femurs of each, in Markdown."""
    lines = [
        "| case | group | phantom | drift, % | noise, HU | slice, mm | kernel | lies | slope, % | intercept, HU | "
        "calibration alone, % | true mask, % | own mask, % | Dice |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for case in sorted({row.case for row in rows}):
        mine = [row for row in rows if row.case == case]
        r = mine[0]
        slope, intercept = (_cell(v, "+.2f") for v in (r.slope_percent, r.intercept_hu))
        dice = [row.dice for row in mine if row.dice is not None]
        lines.append(
            f"| {case} | {r.group} | {r.model} | {r.drift_percent:+.1f} | {r.noise_hu:.0f} | {r.step_mm:.2f} "
            f"| {r.kernel} | {r.position} | {slope} | {intercept} "
            f"| {_percent(mine, 'true_mask', 'as_scanned')} | {_percent(mine, 'true_mask')} "
            f"| {_percent(mine, 'own_mask')} | {_cell(float(np.mean(dice)) if dice else None, '.3f')} |"
        )
    return "\n".join(lines)


def _percent(rows: Sequence[Row], what: str, known: str = "known") -> str:
    found = pairs(rows, what, known)
    return _cell(float(np.mean([100 * (a / b - 1) for a, b in found])) if found else None, "+.2f")


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def draw(rows: Sequence[Row], path: Path) -> None:
    """Write the Bland-Altman picture: true masks left, own masks right; lines: bias and limits of the plain group."""
    figure, panels = plt.subplots(1, 2, figsize=(11, 4.6), sharey=True, layout="constrained")
    titles = {"true_mask": "true mask", "own_mask": "the network's own mask"}
    for axes, (what, title) in zip(panels, titles.items(), strict=True):
        for group, (marker, colour) in LOOKS.items():
            if group == BEYOND:
                continue
            found = np.array(pairs([row for row in rows if row.group == group], what)).reshape(-1, 2)
            axes.plot(
                found.mean(axis=1), found[:, 0] - found[:, 1], marker, color=colour, mfc="none", ms=5, label=group
            )
        plain = agreement(pairs([row for row in rows if row.group == "plain"], what))
        axes.axhline(plain.bias, color="black", lw=1)
        for limit in (plain.low, plain.high):
            axes.axhline(limit, color="black", lw=1, ls="--")
        axes.set(title=f"{title}: plain {plain.bias:+.2f} ({plain.low:+.2f} to {plain.high:+.2f})")
        axes.set_xlabel("mean of measured and known vBMD, mg/cm3")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("measured minus known, mg/cm3")
    panels[0].legend(fontsize=8)
    figure.suptitle(
        "Integral vBMD of synthetic femurs against the known density. For investigational use.", fontsize=10
    )
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def write_report(rows: Sequence[Row], out: Path) -> None:
    """Write `truth.md` and `bland-altman.png` below `out`."""
    if len(rows) < 4:
        return
    (out / "truth.md").write_text(f"{table(rows)}\n\n{cases_table(rows)}\n")
    draw(rows, out / "bland-altman.png")
