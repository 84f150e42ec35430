"""The steps of the protocol over tiny cases: real training, with a threshold in place of the pipeline."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch

from segmenter.errors import SegmenterError
from segmenter.evaluation import protocol
from segmenter.evaluation.cases import read_cases
from segmenter.evaluation.fitting import Fit
from segmenter.evaluation.progress import ProtocolProgress
from segmenter.evaluation.protocol import Protocol, train_on_all
from segmenter.evaluation.splits import split_cohorts
from segmenter.pipeline import SegmentationMethod
from segmenter.training import crops
from segmenter.training.crops import StageOptions
from segmenter.vnet.network import VNet, VNetConfig
from segmenter.vnet.weights import file_digest, load_models, save_weights, write_manifest
from segmenter.volume.femur import Femur, Search, Side
from segmenter.volume.geometry import Geometry


@pytest.fixture
def cases(tmp_path: Path) -> list[Any]:
    """Return five women with one bright ball each."""
    folder = tmp_path / "cases"
    for number in range(5):
        z, y, x = np.indices((20, 20, 20)) - np.reshape([10, 9, 8 + number], (3, 1, 1, 1))
        mask = z**2 + y**2 + x**2 < 25
        (folder / f"c{number}" / "truth").mkdir(parents=True)
        for path, values in (("ct.nii.gz", np.where(mask, 900, -900)), ("truth/left.nii.gz", mask)):
            image = sitk.GetImageFromArray(values.astype(np.int16))
            image.SetSpacing((1.5, 1.5, 2.0))
            sitk.WriteImage(image, str(folder / f"c{number}" / path))
    (folder / "cases.csv").write_text("case,sex\n" + "".join(f"c{n},F\n" for n in range(5)))
    return read_cases(folder)


SMALL = VNetConfig(classes=2, width=2, convs=(1, 1), wide_up=True, dropout=0.1)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fit:
    """Return options to train a few weights on small crops; the folder identifies the model of a fold."""
    monkeypatch.setitem(crops.STAGES, "fine", StageOptions(("left", "right"), 1.5, (8, 8, 8)))
    start = tmp_path / "start"
    start.mkdir()
    torch.manual_seed(0)
    for stage, classes in (("coarse", 5), ("fine", 2)):
        save_weights(VNet(replace(SMALL, classes=classes)), start / f"{stage}.safetensors")
    write_manifest(start, "tiny", "0")
    return Fit(start, steps=2, device="cpu", loaders=0)


def threshold(model: Path, device: str) -> SegmentationMethod:
    """Return a method that finds the ball, but only half of it with every model except that of fold 1."""
    models = load_models(model, device)
    good = model.parent.name in {"fold-01", "whole"}  # the latter holds the model of the best fold

    def find(volume: np.ndarray, _: Geometry, __: Any) -> Search:
        mask = volume > 0
        if not good:
            mask[:10] = False
        return Search((Femur(Side.LEFT, mask, complete=True),))

    return SegmentationMethod(models.name, models.version, models.digest, find)


def test_the_best_fold_is_tested_and_an_interrupted_run_continues(
    cases: list[Any], settings: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(protocol, "vnet_method", threshold)
    out, splits = tmp_path / "out", split_cohorts(cases, 2, 1)
    steps: list[int] = []
    scans: list[int] = []
    content = Protocol(splits, settings, out, ProtocolProgress(on_step=steps.append, on_scan=scans.append)).run()
    assert list(splits) == ["whole"]
    assert (steps, scans) == ([1, 2, 3, 4], [1, 2, 3, 4, 5])
    assert content["held_out"]["whole"]["cases"] == 1
    assert content["held_out"]["whole"]["measures"]["dice"]["mean"] == 1
    assert content["internal_validation"]["whole"]["cases"] == 4
    assert 0.5 < content["internal_validation"]["whole"]["measures"]["dice"]["min"] < 1
    held_out = json.loads((out / "whole" / "held-out" / "evaluation.json").read_text())
    assert held_out["title"] == "whole, held out, fold 1"
    best = out / "whole" / "fold-01" / "model" / "fine.safetensors"
    assert file_digest(out / "whole" / "model" / "fine.safetensors") == file_digest(best)

    lost = out / "whole" / "fold-00" / "evaluation.json"
    before = {path: path.stat().st_mtime_ns for path in out.rglob("evaluation.json") if "validation" not in path.parts}
    old = lost.read_text()
    lost.unlink()
    again = Protocol(splits, settings, out, ProtocolProgress()).run()
    changed = {path for path, time in before.items() if path.stat().st_mtime_ns != time}
    assert changed == {lost, out / "evaluation.json"}
    assert again == content
    assert [case["femora"] for case in json.loads(lost.read_text())["cases"]] == [
        case["femora"] for case in json.loads(old)["cases"]
    ]


def test_the_distal_cut_is_part_of_the_run(
    cases: list[Any], settings: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(protocol, "vnet_method", threshold)
    splits = split_cohorts(cases, 2, 1)
    Protocol(splits, settings, tmp_path / "out", ProtocolProgress(), distal_mm=10.0).run()
    held_out = json.loads((tmp_path / "out" / "whole" / "held-out" / "evaluation.json").read_text())
    assert held_out["model"]["distal_mm"] == 10
    truth = next(case for case in held_out["cases"])["femora"][0]["truth_ml"]
    assert truth < 0.7 * 4 / 3 * np.pi * 5**3 * 1.5 * 1.5 * 2.0 / 1000
    with pytest.raises(SegmenterError, match="differs in its settings"):
        Protocol(splits, settings, tmp_path / "out", ProtocolProgress()).run()


def test_all_cases_make_one_model_with_the_locator_of_the_start(cases: list[Any], settings: Fit, tmp_path: Path):
    steps: list[int] = []
    model = train_on_all(cases, settings, tmp_path / "out", ProtocolProgress(on_step=steps.append))
    assert steps == [1, 2]
    assert file_digest(model / "coarse.safetensors") == file_digest(settings.model / "coarse.safetensors")
    assert file_digest(model / "fine.safetensors") != file_digest(settings.model / "fine.safetensors")
    assert load_models(model, "cpu").name == "tiny-local"


def test_fine_tuning_starts_from_the_weights_with_a_low_learning_rate(settings: Fit):
    scratch, tuned = settings.options(), Fit(settings.start, fine_tune=True).options()
    assert (scratch.init, tuned.init) == (None, settings.model / "fine.safetensors")
    assert tuned.learning_rate == pytest.approx(scratch.learning_rate / 10)
    assert tuned.network == SMALL
    assert (scratch.freeze_norm_after, tuned.freeze_norm_after) == (0.6, 0.0)
    assert replace(settings, steps=8).options().warm_up == 2
