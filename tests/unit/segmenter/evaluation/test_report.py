"""Tables, JSON and plots: what they must carry; scores read back; the pool made of a case; runs told apart."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from segmenter.errors import SegmenterError
from segmenter.evaluation.case_pool import AROUND_MM, hip
from segmenter.evaluation.cases import Scan
from segmenter.evaluation.evaluate import read_rows
from segmenter.evaluation.listing import Listed, Sex
from segmenter.evaluation.metrics import CaseScore, FemurScore
from segmenter.evaluation.progress import ProtocolProgress
from segmenter.evaluation.protocol import mean_dice, remember
from segmenter.evaluation.report import table, write_comparison, write_evaluation
from segmenter.evaluation.statistics import CaseResult, breakdown
from segmenter.vnet.grids import FINE_MM
from segmenter.volume.femur import Side
from segmenter.volume.geometry import Geometry

MODEL = {"name": "net", "version": "1", "digest": "abc", "distal_mm": 0.0}
LEFT = FemurScore(Side.LEFT, 0.98, 0.97, 0.9999, 101.0, 100.0, 0.3, 1.0, missed=False)
MISSED = FemurScore(Side.RIGHT, 0.0, 0.0, 1.0, 0.0, 90.0, math.inf, math.inf, missed=True)


def results(*, synthetic: bool) -> list[CaseResult]:
    woman = CaseResult("w", Listed(Sex.FEMALE, "case w", "thin", synthetic), CaseScore((LEFT, MISSED), 1, 2), 3.5)
    man = CaseResult("m", Listed(Sex.MALE, "case m", "", False), CaseScore((LEFT,), 0, 0), 2.5)
    return [woman, man]


@pytest.mark.parametrize(
    ("synthetic", "marks"), [(True, "synthetic, for investigational use"), (False, "for investigational use")]
)
def test_everything_says_what_it_is(tmp_path: Path, synthetic: bool, marks: str):
    content = write_evaluation(results(synthetic=synthetic), MODEL, "Trial", tmp_path)
    assert (content["note"], content["synthetic"]) == ("for investigational use", synthetic)
    heading = (tmp_path / "table.md").read_text().splitlines()[0]
    assert heading == f"# Trial - {marks}"
    assert "Side errors: 1. Femurs found where no truth is: 2. Model: net 1 abc." in (tmp_path / "table.md").read_text()


def test_the_same_scores_give_the_same_plots_and_others_do_not(tmp_path: Path):
    write_evaluation(results(synthetic=True), MODEL, "Trial", tmp_path / "a")
    write_evaluation(results(synthetic=True), MODEL, "Trial", tmp_path / "b")
    write_evaluation(results(synthetic=False), MODEL, "Trial", tmp_path / "c")
    for name in ("regression.png", "bland-altman.png", "cases.png"):
        first, again, other = ((tmp_path / run / name).read_bytes() for run in "abc")
        assert first == again
        assert first != other
        assert sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a" / name))).shape[0] > 400


def test_json_has_no_infinity_and_gives_the_scores_back(tmp_path: Path):
    scores = results(synthetic=True)
    write_evaluation(scores, MODEL, "Trial", tmp_path)
    content = json.loads((tmp_path / "evaluation.json").read_text(), parse_constant=pytest.fail)
    missed = content["cases"][0]["femora"][1]
    assert (missed["missed"], missed["dice"], missed["hd95_mm"]) == (True, 0, None)
    assert content["summary"]["whole"]["missed"] == 1
    assert read_rows(tmp_path / "evaluation.json") == scores


def test_the_table_stands_beside_the_paper():
    lines = {line.split(" | ")[0]: line for line in table(breakdown(results(synthetic=False))).splitlines()}
    assert lines["| "].startswith("|  | paper | whole | women | men | left | right | stratum thin |")
    assert "| 0.9815 | 0.6533 +- 0.5658 (0.9800; 0.0000 - 0.9800) |" in lines["| Dice"]
    assert "| 0.9992 |" in lines["| Specificity (whole scan)"]
    assert "| 1.00 +- 0.00 (1.00; 1.00 - 1.00) |" in lines["| HD95, mm"]
    assert "none found" in lines["| HD95, mm"]
    assert "| too few |" in lines["| Volume R2 (p)"]
    assert lines["| Missed femurs"] == "| Missed femurs |  | 1 | 1 | 0 | 0 | 1 | 1 |"


def test_cohorts_stand_side_by_side(tmp_path: Path):
    scores = results(synthetic=False)
    tables = {"Held out": {"whole": scores, "men": scores[1:]}, "Internal validation": {"whole": scores}}
    content = write_comparison(tables, "Protocol", tmp_path)
    assert content["held_out"]["men"]["femora"] == 1
    text = (tmp_path / "table.md").read_text()
    assert text.startswith("# Protocol - for investigational use\n")
    assert "|  | paper | whole | men |" in text
    assert text.index("## Held out") < text.index("## Internal validation")


def test_a_missed_femur_lowers_what_makes_a_fold_the_best():
    assert mean_dice(results(synthetic=False)) == pytest.approx(0.98 * 2 / 3)


def test_a_run_is_taken_up_only_with_the_same_settings(tmp_path: Path):
    remember({"settings": {"steps": 3}, "cases": ["a"]}, tmp_path / "run.json")
    remember({"settings": {"steps": 3}, "cases": ["a"]}, tmp_path / "run.json")
    with pytest.raises(SegmenterError, match="holds a run that differs in its cases: choose another folder"):
        remember({"settings": {"steps": 3}, "cases": ["a", "b"]}, tmp_path / "run.json")


def test_progress_counts_over_all_folds_and_tells_of_skipped_ones():
    steps: list[int] = []
    scans: list[int] = []
    progress = ProtocolProgress(on_step=steps.append, on_scan=scans.append)
    progress.finished(10, 4, skipped=True)
    progress.step(5)
    progress.scan(1)
    progress.finished(10, 4, skipped=False)
    progress.scan(1)
    assert (steps, scans) == ([10, 15], [4, 5, 9])


@pytest.mark.parametrize("side", list(Side))
def test_a_hip_of_the_pool_looks_left_and_its_label_is_the_share_of_bone(side: Side):
    """A cube of 30 mm whose edges lie in the middle of fine voxels, dense on the patient's left."""
    grid = Geometry.axial((60, 80, 80), (1.5, 0.75, 0.75), (-30.0, -30.0, 0.0))
    mask = np.zeros(grid.shape, bool)
    mask[20:40, 20:60, 20:60] = True
    volume = np.full(grid.shape, -1000, np.int16)
    volume[mask] = 300
    volume[20:40, 20:60, 45:60] = 1200
    hu, label = hip(Scan(volume, grid, {side: mask}), side)
    assert hu.shape == label.shape
    assert label.sum() / 255 * FINE_MM**3 == pytest.approx(30.0**3, rel=0.03)
    assert (label.max(), label[0].max()) == (255, 0)
    dense, inside = np.argwhere(hu > 1000)[:, 2].mean(), np.argwhere(label > 127)[:, 2].mean()
    assert (dense > inside) == (side is Side.LEFT)
    assert hu.shape[0] == pytest.approx((19 * 1.5 + 2 * AROUND_MM) / FINE_MM + 1, abs=1)
    assert 0 < ((label > 0) & (label < 255)).sum() < (label == 255).sum()
