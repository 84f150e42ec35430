"""The tables of the bench: how every candidate ranks the outlines, the levels, and accuracy by slice thickness."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from scipy.stats import spearmanr

Rows = Sequence[dict[str, Any]]

BAD = 0.95  # Dice below which an outline must be "low"
USED = "width of the zone on 90 % of the surface (used)"


def tables(rows: Rows) -> str:
    """Return all tables as Markdown."""
    found = [row for row in rows if row.get("width_mm") is not None]
    missed = len(rows) - len(found)
    parts = [
        f"{len(found)} outlines, {missed} scans without one",
        ranking(found),
        levels(found),
        worst(found),
        thickness([row for row in found if row["kind"] == "thickness"]),
    ]
    return "\n\n".join(parts)


def ranking(rows: Rows) -> str:
    """Return per figure its rank correlation with Dice, and the false alarms of a limit that catches all bad ones."""
    every = [{USED: -row["width_mm"], **row["candidates"]} for row in rows]
    names = list(dict.fromkeys(name for row in every for name in row))
    lines = []
    for name in names:
        known = [number for number, row in enumerate(every) if name in row]
        score = np.array([every[number][name] for number in known])
        dice = np.array([rows[number]["dice"] for number in known])
        real = np.array([rows[number]["name"].startswith("STS") for number in known])
        bad = dice < BAD
        alarms = int((score[~bad] <= score[bad].max()).sum()) if bad.any() else 0
        cells = [name, len(known), *(f"{correlation(score[of], dice[of]):.2f}" for of in (real | ~real, real, ~real))]
        lines.append([*cells, f"{alarms} of {int((~bad).sum())}"])
    return table(["figure", "outlines", "all", "real", "synthetic", "false alarms"], lines)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return Spearman's rank correlation."""
    return float(spearmanr(a, b).statistic)


def levels(rows: Rows) -> str:
    """Return per level how many outlines there are, how many are bad, and their Dice."""
    lines = []
    for level in ("high", "medium", "low"):
        dice = [row["dice"] for row in rows if row["level"] == level]
        bad = sum(one < BAD for one in dice)
        figures = [f"{f(dice):.3f}" for f in (min, np.median, max)] if dice else [""] * 3
        lines.append([level, len(dice), bad, *figures])
    return table(["level", "outlines", f"Dice below {BAD}", "lowest", "median", "highest"], lines)


def worst(rows: Rows) -> str:
    """Return the outlines that are bad or low, the worst first."""
    chosen = sorted((row for row in rows if row["dice"] < BAD or row["level"] == "low"), key=lambda row: row["dice"])
    lines = [
        [row["name"], row["kind"], row["weights"], f"{row['dice']:.3f}", f"{row['width_mm']:.1f}", row["level"]]
        for row in chosen
    ]
    return table(["hip", "scan", "weights", "Dice", "width mm", "level"], lines)


def thickness(rows: Rows) -> str:
    """Return accuracy and confidence per slice thickness."""
    lines = []
    for mm in sorted({millimetres(row) for row in rows}):
        same = [row for row in rows if millimetres(row) == mm]
        dice = [row["dice"] for row in same]
        volume = [row["volume_percent"] for row in same]
        named = ", ".join(f"{sum(row['level'] == level for row in same)} {level}" for level in levels_of(same))
        cells = [f"{mm:g} mm", len(same), f"{np.mean(dice):.3f}", f"{min(dice):.3f}", f"{np.mean(volume):+.1f} %"]
        lines.append([*cells, f"{np.mean([row['width_mm'] for row in same]):.1f} mm", named])
    return table(["slices", "hips", "Dice", "lowest", "volume", "width", "confidence"], lines)


def levels_of(rows: Rows) -> list[str]:
    """Return the levels that occur."""
    return sorted({row["level"] for row in rows}, key=("high", "medium", "low").index)


def millimetres(row: dict[str, Any]) -> float:
    """Return the slice thickness of a synthetic scan, from its name."""
    return float(row["name"].split(", ")[1].removesuffix(" mm"))


def table(titles: Iterable[str], lines: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table."""
    titles = list(titles)
    rows = [titles, ["---"] * len(titles), *lines]
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows)
