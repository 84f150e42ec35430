"""`qct-node train` from the start to a model folder that the segmenter loads; too small to learn anything useful."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from segmenter.vnet.weights import load_models


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "node", "train", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.timeout(600)
def test_train_makes_a_model_that_loads(tmp_path: Path):
    settings = tmp_path / "mine.toml"
    settings.write_text('device = "cpu"\npatients = 9\n[coarse]\nsteps = 1\n[fine]\nsteps = 1\nwidth = 8\n')
    out = tmp_path / "out"
    done = run("--out", str(out), "--config", str(settings), "--patients", "2")
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == out / "model"
    assert "patients 2/2" in done.stderr
    assert "fine 1/1, loss" in done.stderr
    used = tomllib.loads((out / "run.toml").read_text())
    assert (used["patients"], used["fine"]["width"]) == (2, 8)
    models = load_models(out / "model", "cpu")
    assert models.coarse.config.classes == 5
    assert (models.fine.config.classes, models.fine.config.width) == (2, 8)


def test_settings_that_cannot_be_used_are_named(tmp_path: Path):
    settings = tmp_path / "mine.toml"
    settings.write_text("patience = 1\n[fine]\nsteps = 0\n")
    done = run("--out", str(tmp_path / "out"), "--config", str(settings))
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"{settings}: 2 settings cannot be used",
        "fine.steps = 0: it should be greater than or equal to 1",
        "patience = 1: there is no such setting",
    ]
    assert not (tmp_path / "out").exists()
