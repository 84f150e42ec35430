"""The protocol of Zhao et al. (arXiv 2006.05513): a tenth held out, cross-validation on the rest, the best fold tested.

It is run for the whole cohort, the women and the men. `protocol.json` holds settings and splits; a finished fold
has an `evaluation.json` and is not run again; `<cohort>/held-out` and `<cohort>/validation` hold the figures,
`<cohort>/model` the best fold's model, `table.md` and `evaluation.json` all cohorts side by side.
"""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from segmenter.errors import Reason, SegmenterError, Verdict
from segmenter.evaluation.case_pool import fill_pool
from segmenter.evaluation.cases import Case
from segmenter.evaluation.evaluate import evaluate_cases, read_rows
from segmenter.evaluation.fitting import Fit, fit
from segmenter.evaluation.progress import ProtocolProgress
from segmenter.evaluation.report import (
    EVALUATION,
    NOTE,
    describe_model,
    evaluation,
    write_comparison,
    write_evaluation,
    write_json,
)
from segmenter.evaluation.splits import Split
from segmenter.evaluation.statistics import CaseResult
from segmenter.pipeline import vnet_method


class Protocol:
    """One run in one folder; an interrupted run is continued."""

    def __init__(
        self, splits: Mapping[str, Split], settings: Fit, out: Path, progress: ProtocolProgress, distal_mm: float = 0.0
    ) -> None:
        self.splits, self.settings, self.out, self.progress, self.distal_mm = splits, settings, out, progress, distal_mm
        self.pool: Mapping[str, Path] = {}

    def run(self) -> dict[str, Any]:
        """Run what is not yet finished and return the content of `evaluation.json`.

        Raises SegmenterError(CASES) when the folder holds a run with other settings or cases.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        self.settings.options()  # raises an error for unusable settings before hours of work
        settings = {**self.settings.described(), "distal_mm": self.distal_mm}
        cohorts = {cohort: _described(split) for cohort, split in self.splits.items()}
        cases = {case.name: case for split in self.splits.values() for case in split.cases}
        about = {"note": NOTE, "protocol": "zhao2020", "settings": settings, "cohorts": cohorts}
        remember({**about, "cases": _digests(cases.values())}, self.out / "protocol.json")
        self.pool = fill_pool(list(cases.values()), self.out / "pool", self.progress.on_case)
        validation, held_out = {}, {}
        for cohort, split in self.splits.items():
            folds = [self._fold(cohort, number) for number in range(len(split.folds))]
            best = max(range(len(folds)), key=lambda number: mean_dice(folds[number]))
            validation[cohort] = [case for results in folds for case in results]
            held_out[cohort] = self._test(cohort, best)
            title = f"{cohort}, internal validation of {len(folds)} folds"
            model = {"name": "one per fold", "version": "", "digest": "", "distal_mm": self.distal_mm}
            write_evaluation(validation[cohort], model, title, self.out / cohort / "validation")
        tables = {"Held out": held_out, "Internal validation": validation}
        return write_comparison(tables, "Protocol of Zhao et al. 2020", self.out)

    def _fold(self, cohort: str, number: int) -> list[CaseResult]:
        """Train one fold's network and evaluate it on its fold, unless finished."""
        split, out = self.splits[cohort], self.out / cohort / f"fold-{number:02}"
        own, done = split.folds[number], out / EVALUATION
        if not (skipped := done.exists()):
            training, validation = ([self.pool[c.name] for c in cases] for cases in (split.training(number), own))
            method = vnet_method(
                fit(self.settings, training, validation, out, self.progress.step), self.settings.device
            )
            results = evaluate_cases(own, method, self.progress.scan, self.distal_mm)
            model = describe_model(method, self.distal_mm)
            write_json(evaluation(results, model, f"{cohort}, fold {number}"), done)
        self.progress.finished(self.settings.steps, len(own), skipped=skipped)
        return read_rows(done)

    def _test(self, cohort: str, best: int) -> list[CaseResult]:
        """Evaluate the best fold's network on the held-out cases, unless finished."""
        out, cases = self.out / cohort, self.splits[cohort].held_out
        shutil.copytree(out / f"fold-{best:02}" / "model", out / "model", dirs_exist_ok=True)
        done = out / "held-out" / EVALUATION
        if not (skipped := done.exists()):
            method = vnet_method(out / "model", self.settings.device)
            results = evaluate_cases(cases, method, self.progress.scan, self.distal_mm)
            model = describe_model(method, self.distal_mm)
            write_evaluation(results, model, f"{cohort}, held out, fold {best}", done.parent)
        self.progress.finished(scans=len(cases), skipped=skipped)
        return read_rows(done)


def train_on_all(cases: Sequence[Case], settings: Fit, out: Path, progress: ProtocolProgress) -> Path:
    """Train one model on all the cases and return its folder `out/model`; no case is left to evaluate it."""
    out.mkdir(parents=True, exist_ok=True)
    settings.options()
    about = {"note": NOTE, "settings": settings.described(), "cases": _digests(cases)}
    remember(about, out / "training.json")
    pool = fill_pool(cases, out / "pool", progress.on_case)
    return fit(settings, list(pool.values()), [], out, progress.step)


def mean_dice(results: Sequence[CaseResult]) -> float:
    """Return the mean Dice over all femurs, a missed one with 0; it selects the best fold."""
    scores = [femur.dice for case in results for femur in case.score.femurs]
    return sum(scores) / len(scores)


def remember(content: dict[str, Any], path: Path) -> None:
    """Write the settings of a run; raises SegmenterError(CASES) if the folder already holds another one."""
    if path.exists():
        before, now = json.loads(path.read_text()), json.loads(json.dumps(content))
        if other := [key for key in now if before.get(key) != now[key]]:
            raise SegmenterError(
                Reason.CASES,
                f"{path.parent} holds a run that differs in its {' and '.join(other)}: choose another folder",
                Verdict.FAILED,
            )
    write_json(content, path)


def _digests(cases: Iterable[Case]) -> dict[str, str]:
    return {case.name: case.digest for case in cases}


def _described(split: Split) -> dict[str, Any]:
    held_out, *folds = ([case.name for case in part] for part in (split.held_out, *split.folds))
    return {"held_out": held_out, "folds": folds}
