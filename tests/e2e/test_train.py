"""`qct-node train` from nothing to a model folder that the segmenter loads; tiny, so it learns nothing worth having."""

import subprocess
import sys
from pathlib import Path

import pytest

from segmenter.weights import load_models


@pytest.mark.timeout(600)
def test_train_makes_a_model_that_loads(tmp_path: Path):
    options = ["--patients", "2", "--coarse-steps", "1", "--fine-steps", "1", "--device", "cpu"]
    command = [sys.executable, "-m", "node", "train", "--out", str(tmp_path), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == tmp_path / "model"
    assert "patients 2/2" in done.stderr
    assert "fine 1/1" in done.stderr
    models = load_models(tmp_path / "model", "cpu")
    assert models.coarse.config.classes == 5
    assert models.fine.config.classes == 2
