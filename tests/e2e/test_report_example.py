"""The example in the docs agrees with the output of the two commands beside it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs/reference"
COMMANDS = (
    "phantom --out patient --seed 1 --size 256",
    "segment patient/dicom --out out --calibration patient/calibration.toml",
)
OF_THE_RUN = {"timings", "sha256"}  # times, and bytes that contain the version of the product
TOLERANCE = 0.02  # another processor rounds differently


def differences(made, example, path="") -> list[str]:
    """Return where two JSON values differ by more than rounding."""
    if isinstance(example, dict) and isinstance(made, dict):
        found = [f"{path}: keys {set(made) ^ set(example)}"] if set(made) != set(example) else []
        keys = [key for key in example if key in made and key not in OF_THE_RUN]
        return found + [fault for key in keys for fault in differences(made[key], example[key], f"{path}/{key}")]
    if isinstance(example, list) and isinstance(made, list) and len(made) == len(example):
        pairs = enumerate(zip(made, example, strict=True))
        return [fault for at, (one, other) in pairs for fault in differences(one, other, f"{path}/{at}")]
    if isinstance(example, float) and isinstance(made, float):
        return [] if made == pytest.approx(example, rel=TOLERANCE, abs=0.5) else [f"{path}: {made}, not {example}"]
    if path.endswith("/voxels"):
        return [] if made == pytest.approx(example, rel=TOLERANCE) else [f"{path}: {made}, not {example}"]
    return [] if made == example else [f"{path}: {made!r}, not {example!r}"]


@pytest.mark.timeout(900)
def test_the_commands_of_the_docs_make_the_example(tmp_path):
    page = (DOCS / "report.md").read_text()
    for command in COMMANDS:
        assert f"qct-node {command}\n" in page
        subprocess.run([sys.executable, "-m", "node", *command.split()], cwd=tmp_path, check=True, capture_output=True)
    made = json.loads((tmp_path / "out/report.json").read_text())
    assert differences(made, json.loads((DOCS / "report.example.json").read_text())) == []


def test_differences_are_seen():
    assert differences({"a": [1.0, {"b": "x"}]}, {"a": [1.0, {"b": "x"}]}) == []
    assert differences({"a": 10.0}, {"a": 20.0}) == ["/a: 10.0, not 20.0"]
    assert differences({"a": 1}, {"b": 1}) and differences({"a": "x"}, {"a": None})
