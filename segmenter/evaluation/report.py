"""Write `evaluation.json`, `table.md` and the plots: the figures of a set of cases beside those of the paper."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from segmenter.evaluation.evaluate import rows
from segmenter.evaluation.plots import draw_plots
from segmenter.evaluation.statistics import CaseResult, Spread, Summary, breakdown, summarise
from segmenter.pipeline import SegmentationMethod

NOTE = "for investigational use"
EVALUATION, TABLE = "evaluation.json", "table.md"
# Zhao et al., arXiv 2006.05513, abstract: about forty held-out subjects of one centre, left femurs.
PAPER = {"dice": 0.9815, "sensitivity": 0.9852, "specificity": 0.9992, "volume_r2": 0.9956}
NAMES = {
    "dice": "Dice",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity (whole scan)",
    "assd_mm": "ASSD, mm",
    "hd95_mm": "HD95, mm",
}


def evaluation(results: Sequence[CaseResult], model: Mapping[str, Any], title: str) -> dict[str, Any]:
    """Return the content of `evaluation.json`; "synthetic" is true when any case is. results: at least one case."""
    return {
        "note": NOTE,
        "synthetic": any(case.listed.synthetic for case in results),
        "title": title,
        "model": dict(model),
        "paper": {"reference": "arXiv 2006.05513", **PAPER},
        "side_errors": sum(case.score.side_errors for case in results),
        "unjudged": sum(case.score.unjudged for case in results),
        "summary": {name: asdict(part) for name, part in breakdown(results).items()},
        "cases": rows(results),
    }


def write_evaluation(results: Sequence[CaseResult], model: Mapping[str, Any], title: str, out: Path) -> dict[str, Any]:
    """Write JSON, table and plots below `out` and return the JSON's content. results: at least one case."""
    out.mkdir(parents=True, exist_ok=True)
    content = evaluation(results, model, title)
    heading = f"{title} - {marks(content['synthetic'])}"
    (out / TABLE).write_text(f"# {heading}\n\n{table(breakdown(results))}\n{_below(content)}")
    draw_plots(results, heading, out)
    # Last, because its presence marks a complete evaluation.
    write_json(content, out / EVALUATION)
    return content


def write_comparison(tables: Mapping[str, Mapping[str, Sequence[CaseResult]]], title: str, out: Path) -> dict[str, Any]:
    """Write one JSON and one file of tables, each with several cohorts side by side; return the JSON's content.

    tables: from the table's title to its cohorts' cases.
    """
    synthetic = any(case.listed.synthetic for parts in tables.values() for cases in parts.values() for case in cases)
    content: dict[str, Any] = {"note": NOTE, "synthetic": synthetic, "title": title}
    text = [f"# {title} - {marks(synthetic)}\n"]
    for name, cohorts in tables.items():
        parts = {cohort: part for cohort, cases in cohorts.items() if (part := summarise(cases))}
        content[name.lower().replace(" ", "_")] = {cohort: asdict(part) for cohort, part in parts.items()}
        text.append(f"## {name}\n\n{table(parts)}")
    (out / TABLE).write_text("\n".join(text))
    write_json(content, out / EVALUATION)
    return content


def describe_model(method: SegmentationMethod, distal_mm: float) -> dict[str, Any]:
    """Return what identifies the model that was evaluated, and where its femurs were cut (0: nowhere)."""
    return {"name": method.name, "version": method.version, "digest": method.digest, "distal_mm": distal_mm}


def marks(synthetic: bool) -> str:
    """Return the note that every table and plot must carry."""
    return f"synthetic, {NOTE}" if synthetic else NOTE


def table(parts: Mapping[str, Summary]) -> str:
    """Return a markdown table: measures down, the paper and each part across."""
    lines = [["", "paper", *parts], ["---"] * (len(parts) + 2)]
    lines.append(["Cases / femurs", "", *(f"{part.cases} / {part.femora}" for part in parts.values())])
    lines.append(["Missed femurs", "", *(str(part.missed) for part in parts.values())])
    for key, name in NAMES.items():
        known = f"{PAPER[key]:.4f}" if key in PAPER else ""
        lines.append([name, known, *(_spread(part.measures.get(key), key) for part in parts.values())])
    lines.append(["Volume R2 (p)", f"{PAPER['volume_r2']:.4f}", *(_r2(part) for part in parts.values())])
    lines.append(["Volume bias (95 % limits), mL", "", *(_bias(part) for part in parts.values())])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def write_json(content: object, path: Path) -> None:
    """Write JSON by a rename, so that an existing file is complete; a number that is not finite becomes null."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(_finite(content), indent=2, allow_nan=False) + "\n")
    temporary.replace(path)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _below(content: Mapping[str, Any]) -> str:
    model = content["model"]
    cut = f"Femurs are cut {model['distal_mm']:g} mm below the top of the head. " if model["distal_mm"] else ""
    return (
        "Mean +- standard deviation (median; lowest - highest) over femurs. Distances are those of the femurs found; "
        "a missed femur counts as Dice 0 and volume 0.\n"
        f"{cut}Side errors: {content['side_errors']}. Femurs found where no truth is: {content['unjudged']}. "
        f"Model: {' '.join(part for part in (model['name'], model['version'], model['digest'][:12]) if part)}.\n"
    )


def _spread(values: Spread | None, key: str) -> str:
    if values is None:
        return "none found"
    digits = 2 if key.endswith("_mm") else 4
    mean, median, low, high = (f"{v:.{digits}f}" for v in (values.mean, values.median, values.min, values.max))
    sd = "" if values.sd is None else f" +- {values.sd:.{digits}f}"
    return f"{mean}{sd} ({median}; {low} - {high})"


def _r2(part: Summary) -> str:
    r2, p = part.volumes.r2, part.volumes.p
    return "too few" if r2 is None or p is None else f"{r2:.4f} ({'< 0.0001' if p < 1e-4 else f'{p:.4f}'})"


def _bias(part: Summary) -> str:
    v = part.volumes
    limits = "" if v.lower_ml is None or v.upper_ml is None else f" ({v.lower_ml:+.2f} to {v.upper_ml:+.2f})"
    return f"{v.bias_ml:+.2f}{limits}"
