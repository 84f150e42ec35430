"""The ablation benchmark on tiny volumes and short trainings, which test only the program."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from segmenter.synth import sampling
from segmenter.training import pool
from segmenter.vnet.network import VNet, VNetConfig
from segmenter.volume.femur import Side

SCRIPT = Path(__file__).parents[1] / "bench" / "ablation.py"


def ablation(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *options], capture_output=True, text=True, check=False)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Return a run whose patients, with and without their contents, are two whose femurs are balls."""
    z, y, x = np.indices((24, 24, 24)) - 12
    share = np.clip(6.5 - np.sqrt(z**2 + y**2 + x**2), 0, 1)
    for kind in ("whole", "without-contents"):
        for name, sides in (("patient-1-0000", ["left"]), ("patient-1-0001", ["left", "right"])):
            (tmp_path / "pools" / kind / name).mkdir(parents=True)
            for side in sides:
                hu, label = (40 + 860 * share).astype(np.float32), np.round(255 * share).astype(np.uint8)
                pool.save(tmp_path / "pools" / kind / name / f"{side}.npz", hu, label)
    return tmp_path


@pytest.mark.timeout(900)
def test_variants_are_trained_and_evaluated_once(out: Path):
    equal = ["--out", str(out), "--patients", "2", "--steps", "1", "--held-out", "1", "--crop", "48", "--device", "cpu"]
    done = ablation(*equal, "--variants", "width-8")
    assert done.returncode == 0, done.stderr
    path = out / "results" / "width-8-2-1-1-1-48.json"
    result = json.loads(path.read_text())
    assert len(result["dice"]) == len(result["volume_ratio"]) == 1
    assert 0 <= result["dice"][0] <= 1
    assert result["parameters"] == sum(p.numel() for p in VNet(VNetConfig(width=8)).parameters())

    written = path.stat().st_mtime_ns
    done = ablation(*equal, "--variants", "without-contents,without-scanner")
    assert done.returncode == 0, done.stderr
    assert path.stat().st_mtime_ns == written
    lines = (out / "ablation.md").read_text().splitlines()
    assert "for investigational use" in lines[0]
    found = [line.split("|")[1].strip() for line in lines if line.startswith("| w")]
    assert found == ["width-8", "without-contents", "without-scanner"]


def test_every_part_can_be_left_out_and_is_put_back(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    parts = importlib.import_module("ablation").PARTS
    for part in parts.values():
        kept = getattr(part.owner, part.name)
        with part.off():
            assert getattr(part.owner, part.name) is part.left_out
        assert getattr(part.owner, part.name) is kept


def test_without_contents_and_artefacts_the_rest_of_the_patient_stays(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(SCRIPT.parent)
    parts = importlib.import_module("ablation").PARTS
    options = sampling.PatientOptions(metal=False, screws=False)
    whole = sampling.sample_patient(np.random.default_rng(1), options)
    with parts["contents"].off(), parts["artefacts"].off():
        plain = sampling.sample_patient(np.random.default_rng(1), options)
    assert whole.capsules
    assert (plain.capsules, plain.artefact) == ((), None)
    assert (plain.tissues, plain.shape.tolist()) == (whole.tissues, whole.shape.tolist())
    for side in Side:
        assert np.array_equal(plain.femurs[side].distance, whole.femurs[side].distance)
    assert [swing.tolist() for swing in parts["posture"].left_out(np.random.default_rng(1))] == [[0, 0, 0], [0, 0, 0]]


def test_an_unknown_variant_is_named(tmp_path: Path):
    done = ablation("--out", str(tmp_path), "--variants", "width-9")
    assert done.returncode == 2
    assert "no variant width-9" in done.stderr
