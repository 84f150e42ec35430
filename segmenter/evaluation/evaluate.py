"""Evaluate a model on a folder of cases: both stages on each scan, compared with the truth on its native grid."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from segmenter.evaluation.cases import Case, load
from segmenter.evaluation.listing import Listed, Sex
from segmenter.evaluation.metrics import CaseScore, FemurScore, score_case
from segmenter.evaluation.statistics import CaseResult
from segmenter.measure.distal import shorten
from segmenter.pipeline import SegmentationMethod
from segmenter.volume.femur import Femur, Side


def evaluate_cases(
    cases: Sequence[Case],
    method: SegmentationMethod,
    on_case: Callable[[int], None] = lambda _: None,
    distal_mm: float = 0.0,
) -> list[CaseResult]:
    """Return the scores of every case, missed femurs included; `seconds` is the time from volume to masks.

    distal_mm: length to which found and true femurs are cut alike, from the top of the head; 0 compares them whole.
    """
    results = []
    for done, case in enumerate(cases, 1):
        scan = load(case)
        begin = time.perf_counter()
        found = list(method.find(scan.volume, scan.geometry, lambda _: None).femurs)
        seconds = time.perf_counter() - begin
        truth = [Femur(side, mask, complete=True) for side, mask in scan.truth.items()]
        if distal_mm:
            found, truth = ([shorten(f, scan.geometry, distal_mm)[0] for f in femurs] for femurs in (found, truth))
        score = score_case(found, {femur.side: femur.mask for femur in truth}, scan.geometry)
        results.append(CaseResult(case.name, case.listed, score, round(seconds, 3)))
        on_case(done)
    return results


def rows(results: Sequence[CaseResult]) -> list[dict[str, Any]]:
    """Return the scores as plain values for JSON, an infinite distance as None."""
    return [
        {
            "case": case.name,
            **asdict(case.listed),
            "seconds": case.seconds,
            "side_errors": case.score.side_errors,
            "unjudged": case.score.unjudged,
            "femora": [_plain(femur) for femur in case.score.femurs],
        }
        for case in results
    ]


def read_rows(path: Path) -> list[CaseResult]:
    """Return the results that `rows` converted, from an `evaluation.json`."""
    return [
        CaseResult(
            row["case"],
            Listed(Sex(row["sex"]), row["group"], row["stratum"], row["synthetic"]),
            CaseScore(tuple(_femur(femur) for femur in row["femora"]), row["side_errors"], row["unjudged"]),
            row["seconds"],
        )
        for row in json.loads(path.read_text())["cases"]
    ]


def _plain(femur: FemurScore) -> dict[str, Any]:
    distances = {} if not femur.missed else {"assd_mm": None, "hd95_mm": None}
    return {**asdict(femur), **distances}


def _femur(row: dict[str, Any]) -> FemurScore:
    distances = {key: float("inf") if row[key] is None else row[key] for key in ("assd_mm", "hd95_mm")}
    return FemurScore(**{**row, "side": Side(row["side"]), **distances})
