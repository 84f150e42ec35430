"""The table of variants, run whole on volumes so small and trainings so short that only the machinery is tested."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from segmenter.network import VNet, VNetConfig
from segmenter.training import pool

SCRIPT = Path(__file__).parents[1] / "bench" / "ablation.py"


def ablation(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *options], capture_output=True, text=True, check=False)


@pytest.fixture
def patients(tmp_path: Path) -> Path:
    """Return a pool of two patients whose femora are balls; the first has one hip only."""
    z, y, x = np.indices((24, 24, 24)) - 12
    share = np.clip(6.5 - np.sqrt(z**2 + y**2 + x**2), 0, 1)
    for name, sides in (("patient-1-0000", ["left"]), ("patient-1-0001", ["left", "right"])):
        (tmp_path / "pool" / name).mkdir(parents=True)
        for side in sides:
            hu, label = (40 + 860 * share).astype(np.float32), np.round(255 * share).astype(np.uint8)
            pool.save(tmp_path / "pool" / name / f"{side}.npz", hu, label)
    return tmp_path / "pool"


@pytest.mark.timeout(900)
def test_variants_are_trained_judged_and_not_done_twice(patients: Path, tmp_path: Path):
    equal = ["--pool", str(patients), "--out", str(tmp_path / "out"), "--steps", "1", "--held-out", "1"]
    done = ablation(*equal, "--device", "cpu", "--variants", "width-8")
    assert done.returncode == 0, done.stderr
    path = tmp_path / "out" / "results" / "width-8.json"
    result = json.loads(path.read_text())
    assert len(result["dice"]) == len(result["volume_ratio"]) == 1
    assert 0 <= result["dice"][0] <= 1
    assert result["parameters"] == sum(p.numel() for p in VNet(VNetConfig(width=8)).parameters())

    written = path.stat().st_mtime_ns
    without = ["--without", f"bowel={patients}", "--variants", "width-8,without-bowel"]
    done = ablation(*equal, "--device", "cpu", *without)
    assert done.returncode == 0, done.stderr
    assert path.stat().st_mtime_ns == written
    lines = (tmp_path / "out" / "ablation.md").read_text().splitlines()
    assert "for investigational use" in lines[0]
    found = [[cell.strip() for cell in line.split("|")[1:3]] for line in lines if line.startswith("| w")]
    assert found == [["width-8", "width 8"], ["without-bowel", "synthesis without bowel"]]


def test_an_unknown_variant_is_named(patients: Path, tmp_path: Path):
    done = ablation("--pool", str(patients), "--out", str(tmp_path / "out"), "--variants", "width-9")
    assert done.returncode == 2
    assert "no variant width-9" in done.stderr
