"""`make demo` as processes: archive, node and comparison, with a synthetic patient or the user's folder."""

import os
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import SegmentationStorage

ROOT = Path(__file__).parents[2]
QCT_NODE = Path(sys.executable).with_name("qct-node")
ACCEPTED_DICE = 0.95


@pytest.fixture
def demo(tmp_path):
    """Run the demo and return (exit code, stdout, stderr)."""

    def run(*arguments):
        script = ROOT / "deploy/demo/demo.py"
        done = subprocess.run(
            [sys.executable, script, "--out", tmp_path / "out", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=1200,
            cwd=tmp_path,
        )
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture
def study(tmp_path):
    """A short synthetic series of coarse pixels in a folder of the user."""
    options = ("--slices", "12", "--size", "64", "--out", str(tmp_path / "own"))
    subprocess.run([QCT_NODE, "phantom", *options], check=True, capture_output=True, timeout=300)
    return tmp_path / "own/dicom"


@pytest.fixture
def model():
    """The shipped weights, which the demo needs."""
    manifest = resources.files("segmenter") / "data/model/model.json"
    if not manifest.is_file():
        (pytest.fail if os.environ.get("CI") else pytest.skip)("the weights are not in segmenter/data/model")


def nothing_left(folder):
    """Tell whether no process of this folder is running."""
    lines = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return str(folder) not in lines.replace(str(Path(__file__)), "")


@pytest.mark.timeout(1300)
def test_a_synthetic_patient_comes_back_as_seg(demo, model, tmp_path):
    code, out, err = demo()
    assert code == 0, err
    scores = dict(re.findall(r"(Left|Right) proximal femur .* (\d\.\d{3})", out))
    assert {side: float(score) > ACCEPTED_DICE for side, score in scores.items()} == {"Left": True, "Right": True}, out
    assert "delivered by C-STORE to demo-archive" in out
    (seg,) = (Path(path) for path in re.findall(r"DICOM-SEG in the archive: (.+)", out))
    assert dcmread(seg, stop_before_pixels=True).SOPClassUID == SegmentationStorage
    (picture,) = (Path(path) for path in re.findall(r"picture: (.+)", out))
    assert picture.read_bytes().startswith(b"\x89PNG")
    densities = re.findall(r"(left|right) +│ +(\d+\.\d) +│ +(\d+\.\d) ", out)
    assert [side for side, *_ in densities] == ["left", "right"], out
    assert all(abs(float(ours) / float(known) - 1) < 0.05 for _, ours, known in densities), out
    assert nothing_left(tmp_path)


def test_a_study_with_a_missing_slice_is_reported_with_the_reason(demo, study, tmp_path):
    sorted(study.glob("*.dcm"))[5].unlink()
    code, out, err = demo("--study", study)
    assert code == 1
    assert re.fullmatch(
        r"Error: The study was held: .*slice \d+ is missing between z=.* mm.*", err.strip().splitlines()[-1]
    )
    assert "Dice" not in out
    assert nothing_left(tmp_path)


def test_a_folder_without_dicom_is_one_sentence(demo, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "notes.txt").write_text("no DICOM here")
    code, _, err = demo("--study", empty)
    assert code == 1
    assert err.startswith(f"Error: {empty} holds no DICOM files (found: .txt). Unpack archives such as .zip first;")
    assert len(err.strip().splitlines()) == 1
    assert nothing_left(tmp_path)
