"""How well the confidence tells bad outlines from good ones, and accuracy by slice thickness.

    PYTHONPATH=tests nice -n 15 .venv/bin/python -m bench.confidence.measure --out runs/confidence \
        --data ../shared/data/ct --older OLD_MODEL    # continues a partial run

Every scan of `cases.py` is segmented as `segment` does it, and by older weights, which are worse at real heads. A line
of OUT/rows.jsonl holds Dice, confidence and the candidates of `candidates.py`; at the end the tables are printed.
For investigational use.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from bench.confidence.candidates import Answer, candidates, dice, shifted
from bench.confidence.cases import Case, Hip, real_cases
from bench.confidence.tables import tables

from segmenter.vnet import fine
from segmenter.vnet.weights import Models, load_models

PATIENTS, BY_OLDER = 4, 2
SHIPPED, OLDER = "shipped", "older"


@contextmanager
def recorded() -> Iterator[list[tuple[Any, ...]]]:
    """Record what the fine network answers: side, probabilities, window."""
    answers: list[tuple[Any, ...]] = []
    original = fine.outline_hip

    def outline_hip(volume: Any, geometry: Any, hip: Any, models: Any) -> Any:
        found = original(volume, geometry, hip, models)
        answers.append((hip.side, *found[:2]))
        return found

    fine.outline_hip = outline_hip
    try:
        yield answers
    finally:
        fine.outline_hip = original


def row(case: Case, models: Models, weights: str) -> dict[str, Any]:
    """Return the figures of one scan; Dice 0 and nothing else if its femur is not claimed."""
    about = {"name": case.name, "kind": case.kind, "weights": weights}
    with recorded() as answers:
        femurs = fine.segment_femurs(case.volume, case.geometry, models)
    femurs = [femur for femur in femurs if (femur.mask & case.truth).any()]
    if not femurs:
        return {**about, "dice": 0.0}
    best = max(femurs, key=lambda femur: dice(femur.mask, case.truth))
    side, p, window = next(answer for answer in answers if answer[0] is best.side)
    answer = Answer(p, window, case.volume, case.geometry, side, models)
    further = {"Dice with a second, shifted pass": shifted(answer)} if weights == SHIPPED else {}
    return {
        **about,
        "dice": dice(best.mask, case.truth),
        "volume_percent": 100 * float(best.mask.sum() / case.truth.sum() - 1),
        "level": str(best.confidence.level) if best.confidence else None,
        "width_mm": best.confidence.width_mm if best.confidence else None,
        "candidates": candidates(answer) | further,
    }


def cases(data: Path | None) -> Iterator[tuple[Case, tuple[str, ...]]]:
    """Yield every scan with the weights that segment it."""
    if data:
        yield from ((case, (SHIPPED, OLDER)) for case in real_cases(data))
    for number in range(PATIENTS):
        hip = Hip(number)
        yield from ((case, (SHIPPED,)) for case in hip.thick())
        yield from ((case, (SHIPPED, OLDER) if number < BY_OLDER else (SHIPPED,)) for case in hip.poor())


@click.command()
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path))
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Real hips; none without.")
@click.option("--older", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Older weights.")
def main(out: Path, data: Path | None, older: Path | None) -> None:
    """Measure what OUT does not hold yet, then print the tables."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "rows.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    known = {(one["name"], one["kind"], one["weights"]) for one in rows}
    models = {SHIPPED: load_models()} | ({OLDER: load_models(older)} if older else {})
    for case, wanted in cases(data):
        for weights in wanted:
            if weights in models and (case.name, case.kind, weights) not in known:
                rows.append(row(case, models[weights], weights))
                with path.open("a") as stream:
                    stream.write(json.dumps(rows[-1]) + "\n")
                print({key: rows[-1][key] for key in rows[-1] if key != "candidates"}, flush=True)
    print(tables(rows))


if __name__ == "__main__":
    main()
