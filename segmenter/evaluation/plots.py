"""The plots of an evaluation as PNG: volume regression, Bland-Altman, and Dice of every case."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segmenter.evaluation.listing import Sex
from segmenter.evaluation.metrics import FemurScore
from segmenter.evaluation.statistics import CaseResult, Volumes, volumes
from segmenter.volume.femur import Side

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REGRESSION, AGREEMENT, STRIP = "regression.png", "bland-altman.png", "cases.png"
# Okabe and Ito's colours, distinct for colour-blind readers; the marker shows the side.
COLOURS = {Sex.FEMALE: "#d55e00", Sex.MALE: "#0072b2"}
MARKS = {Side.LEFT: "o", Side.RIGHT: "^"}
PUBLISHED_DICE = 0.9815


def require_matplotlib() -> None:
    """Raise ModuleNotFoundError with one clear sentence when the plots cannot be drawn."""
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("the plots need matplotlib: install qct-node[train]") from error


def draw_plots(results: Sequence[CaseResult], heading: str, out: Path) -> None:
    """Write the three plots below `out`; each carries the heading."""
    femurs = [(case, femur) for case in results for femur in case.score.femurs]
    line = volumes([femur.volume_ml for _, femur in femurs], [femur.truth_ml for _, femur in femurs])
    for name, draw in ((REGRESSION, _regression), (AGREEMENT, _agreement)):
        figure, axes = _figure(heading)
        draw(axes, femurs, line)
        _save(figure, out / name)
    figure, axes = _figure(heading, width=max(6.0, 0.16 * len(results) + 2))
    _strip(axes, results)
    _save(figure, out / STRIP)


def _regression(axes: "Axes", femurs: Sequence[tuple[CaseResult, FemurScore]], line: Volumes) -> None:
    _scatter(axes, [(case, femur, femur.truth_ml, femur.volume_ml) for case, femur in femurs])
    ends = [min(f.truth_ml for _, f in femurs), max(f.truth_ml for _, f in femurs)]
    axes.plot(ends, ends, color="grey", linestyle=":", label="identity")
    if line.slope is not None and line.intercept_ml is not None:
        fit = [line.intercept_ml + line.slope * end for end in ends]
        axes.plot(ends, fit, color="black", label=f"slope {line.slope:.3f}, R2 = {line.r2:.4f}")
    axes.set(xlabel="true volume, mL", ylabel="found volume, mL")


def _agreement(axes: "Axes", femurs: Sequence[tuple[CaseResult, FemurScore]], line: Volumes) -> None:
    points = [(case, f, (f.volume_ml + f.truth_ml) / 2, f.volume_ml - f.truth_ml) for case, f in femurs]
    _scatter(axes, points)
    axes.axhline(line.bias_ml, color="black", label=f"bias {line.bias_ml:+.2f} mL")
    for limit in (line.lower_ml, line.upper_ml):
        if limit is not None:
            axes.axhline(limit, color="black", linestyle="--", label=f"95 % limit {limit:+.2f} mL")
    axes.set(xlabel="mean of found and true volume, mL", ylabel="found - true volume, mL")


def _strip(axes: "Axes", results: Sequence[CaseResult]) -> None:
    places = {case.name: place for place, case in enumerate(results)}
    _scatter(axes, [(case, f, places[case.name], f.dice) for case in results for f in case.score.femurs])
    axes.axhline(PUBLISHED_DICE, color="grey", linestyle=":", label=f"the paper's mean, {PUBLISHED_DICE}")
    axes.set_xticks(list(places.values()), list(places), rotation=90, fontsize=6)
    axes.set(xlabel="case", ylabel="Dice")


def _scatter(axes: "Axes", points: Sequence[tuple[CaseResult, FemurScore, float, float]]) -> None:
    for sex, colour in COLOURS.items():
        for side, mark in MARKS.items():
            chosen = [(x, y) for case, femur, x, y in points if case.listed.sex is sex and femur.side is side]
            if chosen:
                xs, ys = zip(*chosen, strict=True)
                axes.scatter(xs, ys, s=18, color=colour, marker=mark, label=f"{sex}, {side}")


def _figure(heading: str, width: float = 6.0) -> tuple["Figure", "Axes"]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, 5), layout="constrained")
    axes = figure.subplots()
    axes.set_title(heading, fontsize=9)
    axes.grid(alpha=0.3)
    return figure, axes


def _save(figure: "Figure", path: Path) -> None:
    figure.axes[0].legend(fontsize=7)
    # Without the version of matplotlib the same figures give the same bytes.
    figure.savefig(path, dpi=120, metadata={"Software": None})
