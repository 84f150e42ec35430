"""`qct-node evaluate` and `qct-node train --cases`, complete at the smallest scale: commands, files, processes.

Two synthetic patients are enough: cut to one hip each, and one of them again with other voxels, they are six scans.
The networks of the protocol have a few hundred weights and learn for three steps, so their Dice says nothing here.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch

from node.cli import main
from segmenter.read.folder import find_series
from segmenter.read.hounsfield import read_volume
from segmenter.read.series import read_series
from segmenter.synth.series import SyntheticSeriesOptions, write_synthetic_series
from segmenter.vnet.network import VNet, VNetConfig
from segmenter.vnet.weights import file_digest, load_models, save_weights, write_manifest

# A fixture's time counts for the first test that asks for it.
pytestmark = pytest.mark.timeout(900)

SHIPPED = Path(__file__).parents[2] / "segmenter" / "data" / "model"
PERSONS = {"F": 1, "M": 5}  # sex and seed


def make_patient(sex: str, folder: Path) -> None:
    write_synthetic_series(
        SyntheticSeriesOptions(seed=PERSONS[sex], slices=30, size=112, slice_step_mm=5.0, sex=sex), folder
    )


def list_cases(folder: Path, rows: list[tuple[str, ...]]) -> None:
    with (folder / "cases.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("case", "sex", "synthetic"), *rows])


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of two cases written by `qct-node phantom`."""
    folder = tmp_path_factory.mktemp("patients")
    with ProcessPoolExecutor(2) as executor:
        list(executor.map(make_patient, PERSONS, [folder / sex for sex in PERSONS]))
    list_cases(folder, [(sex, sex, "yes") for sex in PERSONS])
    return folder


@pytest.fixture(scope="module")
def hips(patients: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of six cases of one hip each as NIfTI, three of either sex."""
    folder = tmp_path_factory.mktemp("hips")
    rows = []
    for sex in PERSONS:
        volume = read_volume(read_series(find_series(patients / sex / "dicom")))
        for name, side, scale in (("a", "left", 1.0), ("b", "right", 1.0), ("c", "left", 0.96)):
            truth = sitk.ReadImage(str(patients / sex / "truth" / f"{side}.nii.gz"))
            inside = sitk.GetArrayFromImage(truth).any(axis=0)
            x, y = (np.flatnonzero(inside.any(axis=axis)) for axis in (0, 1))
            around = tuple(slice(max(0, place[0] - 12), place[-1] + 12) for place in (x, y))
            truth.SetSpacing([mm * scale for mm in truth.GetSpacing()])
            image = sitk.GetImageFromArray(volume)
            image.CopyInformation(truth)
            target = folder / f"{sex}{name}"
            (target / "truth").mkdir(parents=True)
            sitk.WriteImage(image[around], str(target / "ct.nii.gz"))
            sitk.WriteImage(truth[around], str(target / "truth" / f"{side}.nii.gz"))
            rows.append((target.name, sex, "yes"))
    list_cases(folder, rows)
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model of the shipped locator and a fine network of a few hundred weights."""
    folder = tmp_path_factory.mktemp("tiny")
    shutil.copyfile(SHIPPED / "coarse.safetensors", folder / "coarse.safetensors")
    torch.manual_seed(0)
    save_weights(VNet(VNetConfig(classes=2, width=2, convs=(1, 1))), folder / "fine.safetensors")
    write_manifest(folder, "tiny", "0")
    return folder


def command(*arguments: object) -> list[str]:
    return [str(argument) for argument in arguments]


@pytest.fixture(scope="module")
def protocol(hips: Path, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], str]:
    """Run the protocol as a user does; return its folder, the command and its output."""
    out = tmp_path_factory.mktemp("protocol")
    arguments = command("train", "--cases", hips, "--out", out, "--protocol", "zhao2020", "--start", tiny)
    arguments += command("--steps", 3, "--folds", 2, "--device", "cpu", "--workers", 0)
    # With tiny networks several threads are ten times slower on a loaded machine.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = [sys.executable, "-m", "node", *arguments]
    done = subprocess.run(run, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out, arguments, done.stderr


def test_the_shipped_model_over_a_folder_of_synthetic_patients(
    patients: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    main(command("evaluate", "--cases", patients, "--out", tmp_path, "--device", "cpu", "--json"))
    said = json.loads(capsys.readouterr().out)
    assert said == json.loads((tmp_path / "evaluation.json").read_text())
    assert (said["note"], said["synthetic"], said["paper"]["dice"]) == ("for investigational use", True, 0.9815)
    assert said["model"]["digest"] == load_models(device="cpu").digest
    assert {name: part["femora"] for name, part in said["summary"].items()} == {
        "whole": 4, "women": 2, "men": 2, "left": 2, "right": 2
    }  # fmt: skip
    assert said["summary"]["whole"]["measures"]["dice"]["min"] > 0.85
    assert said["summary"]["whole"]["measures"]["assd_mm"]["max"] < 3
    assert (said["side_errors"], said["unjudged"]) == (0, 0)
    assert "synthetic, for investigational use" in (tmp_path / "table.md").read_text()
    for name in ("regression", "bland-altman", "cases"):
        assert sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"{name}.png"))).std() > 5


def test_the_protocol_validates_each_case_once_and_tests_the_best_fold(protocol: tuple[Path, list[str], str]):
    out, _, said = protocol
    plan = json.loads((out / "protocol.json").read_text())["cohorts"]
    assert set(plan) == {"whole", "women", "men"}
    for cohort, split in plan.items():
        folds = [json.loads((out / cohort / f"fold-{n:02}" / "evaluation.json").read_text()) for n in (0, 1)]
        assert [[row["case"] for row in fold["cases"]] for fold in folds] == split["folds"]
        tested = json.loads((out / cohort / "held-out" / "evaluation.json").read_text())
        assert [row["case"] for row in tested["cases"]] == split["held_out"]
        dice = [np.mean([f["dice"] for row in fold["cases"] for f in row["femora"]]) for fold in folds]
        best = out / cohort / f"fold-{int(np.argmax(dice)):02}"
        assert tested["model"]["digest"] == load_models(best / "model", "cpu").digest
        assert load_models(out / cohort / "model", "cpu").digest == tested["model"]["digest"]
        assert (out / cohort / "validation" / "bland-altman.png").stat().st_size > 1000
    whole = json.loads((out / "evaluation.json").read_text())
    assert whole["synthetic"]
    assert whole["held_out"]["whole"]["cases"] == 2
    assert [whole["internal_validation"][cohort]["femora"] for cohort in plan] == [4, 2, 2]
    assert "| 0.9815 |" in (out / "table.md").read_text()
    for line in ("steps 18/18", "measure 12/12", "prepare 6/6"):
        assert line in said


def test_an_interrupted_run_repeats_only_unfinished_cases(protocol: tuple[Path, list[str], str]):
    out, arguments, _ = protocol
    lost = out / "men" / "fold-01" / "evaluation.json"
    before = json.loads(lost.read_text())
    weights = file_digest(lost.parent / "model" / "fine.safetensors")
    times = {path: path.stat().st_mtime_ns for path in out.rglob("fold-*/evaluation.json")}
    lost.unlink()
    main(arguments)
    assert {path for path, time in times.items() if path.stat().st_mtime_ns != time} == {lost}
    assert file_digest(lost.parent / "model" / "fine.safetensors") == weights
    again = json.loads(lost.read_text())
    assert [row["femora"] for row in again["cases"]] == [row["femora"] for row in before["cases"]]


def test_a_folder_with_another_run_is_not_touched(
    protocol: tuple[Path, list[str], str], capsys: pytest.CaptureFixture[str]
):
    out, arguments, _ = protocol
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--seed", "9"])
    assert stop.value.code == 1
    assert f"{out} holds a run that differs in its settings and cohorts" in capsys.readouterr().err


def test_own_cases_make_a_model_that_began_with_the_given_weights(
    hips: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    options = command("--start", tiny, "--fine-tune", "--steps", 20, "--device", "cpu", "--workers", 1)
    main([*command("train", "--cases", hips, "--out", tmp_path), *options])
    model = Path(capsys.readouterr().out.strip())
    tuned, start = load_models(model, "cpu"), load_models(tiny, "cpu")
    assert (tuned.name, tuned.coarse.config) == ("tiny-local", start.coarse.config)
    change = tuned.fine.head.weight - start.fine.head.weight
    assert 0 < change.abs().max() < 0.01
    assert len(json.loads((tmp_path / "training.json").read_text())["cases"]) == 6


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--steps", "5"], "--steps needs --cases"),
        (["--cases", ".", "--patients", "5"], "--patients cannot be used with --cases"),
    ],
)
def test_options_of_the_other_kind_of_training_are_refused(
    options: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as stop:
        main(["train", "--out", str(tmp_path), *options])
    assert stop.value.code == 2
    assert words in capsys.readouterr().err
