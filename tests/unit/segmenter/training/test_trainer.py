"""The training loop on a pool small enough for a test: it learns, resumes to the byte and is deterministic."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from segmenter.errors import SegmenterError
from segmenter.training import crops, pool
from segmenter.training.crops import StageOptions
from segmenter.training.options import TrainOptions
from segmenter.training.train import Progress, Trainer, averaged
from segmenter.vnet.weights import read_weights

SMALL = StageOptions(("left", "right"), 1.5, (16, 16, 16))
OPTIONS = TrainOptions(
    "fine", 12, width=4, convs=(1, 1), warm_up=2, save_every=4, learning_rate=1e-2, device="cpu", loaders=0
)


@pytest.fixture(autouse=True)
def _one_thread():
    """Volumes this small are done before several threads have met."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def patients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return three patients whose femur is a bright ball."""
    monkeypatch.setitem(crops.STAGES, "fine", SMALL)
    rng = np.random.default_rng(0)
    folders = []
    for n in range(3):
        folder = tmp_path / f"patient-{n}"
        folder.mkdir()
        for side in ("left", "right"):
            z, y, x = np.indices((24, 24, 24)) - rng.integers(10, 14, (3, 1, 1, 1))
            share = np.clip(6.5 - np.sqrt(z**2 + y**2 + x**2), 0, 1)
            pool.save(folder / f"{side}.npz", (40 + 860 * share).astype(np.float32), np.uint8(np.round(255 * share)))
        folders.append(folder)
    return folders


def run(patients: list[Path], out: Path, options: TrainOptions = OPTIONS, until: int = 10**6) -> list[Progress]:
    """Train on all but the first; break off, like a power cut, once step `until` is done."""
    said: list[Progress] = []

    def on_step(progress: Progress) -> None:
        said.append(progress)
        if progress.step == until:
            raise KeyboardInterrupt

    Trainer(options, patients[1:], patients[:1], out).run(on_step)
    return said


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "log.csv").open(newline="") as stream:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(stream)]


def test_it_learns_and_writes_weights_log_curves_and_settings(patients: list[Path], tmp_path: Path):
    said = run(patients, tmp_path / "run", replace(OPTIONS, steps=40, save_every=20))
    assert said[-1].step == 40
    assert said[-1].validation > 0.8
    log = rows(tmp_path / "run")
    assert [int(row["step"]) for row in log] == list(range(1, 41))
    assert [bool(row["dice"]) for row in log] == [n % 20 == 0 for n in range(1, 41)]
    assert float(log[1]["learning_rate"]) == 1e-2
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "run" / "options.json").read_text())["seed"] == 1
    assert read_weights(tmp_path / "run" / "fine.safetensors").config == OPTIONS.network


def test_the_seed_decides_every_byte(patients: list[Path], tmp_path: Path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(patients, tmp_path / name, replace(OPTIONS, seed=seed))
    a, b, c = ((tmp_path / name / "fine.safetensors").read_bytes() for name in "abc")
    assert a == b
    assert a != c
    assert rows(tmp_path / "a") == rows(tmp_path / "b")


def test_a_broken_run_ends_like_one_that_never_broke(patients: list[Path], tmp_path: Path):
    drawing = replace(OPTIONS, dropout=0.3)  # what is drawn must be drawn alike, too
    run(patients, tmp_path / "whole", drawing)
    with pytest.raises(KeyboardInterrupt):
        run(patients, tmp_path / "broken", drawing, until=7)
    assert len(rows(tmp_path / "broken")) == 7
    said = run(patients, tmp_path / "broken", drawing)
    assert [p.step for p in said] == list(range(5, 13))
    assert rows(tmp_path / "broken") == rows(tmp_path / "whole")
    whole, broken = ((tmp_path / name / "fine.safetensors").read_bytes() for name in ("whole", "broken"))
    assert whole == broken


def test_a_finished_run_is_only_written_out(patients: list[Path], tmp_path: Path):
    run(patients, tmp_path / "run")
    first = (tmp_path / "run" / "fine.safetensors").read_bytes()
    assert run(patients, tmp_path / "run") == []
    assert (tmp_path / "run" / "fine.safetensors").read_bytes() == first


def test_a_run_is_not_taken_up_with_other_settings(patients: list[Path], tmp_path: Path):
    run(patients, tmp_path / "run")
    with pytest.raises(SegmenterError, match=r"width 4, now 8; learning_rate 0\.01, now 0\.02"):
        run(patients, tmp_path / "run", replace(OPTIONS, width=8, learning_rate=0.02))
    assert run(patients, tmp_path / "run", replace(OPTIONS, steps=14))[-1].step == 14


def test_settings_that_a_checkpoint_lacks_or_has_too_many_are_compared(patients: list[Path], tmp_path: Path):
    with pytest.raises(KeyboardInterrupt):
        run(patients, tmp_path / "out", until=4)
    path = tmp_path / "out" / "checkpoint.pt"
    state = torch.load(path, weights_only=True)
    del state["options"]["dropout"]
    torch.save({**state, "options": {**state["options"], "colour": "red"}}, path)
    with pytest.raises(SegmenterError, match="colour 'red', now None"):
        run(patients, tmp_path / "out")
    torch.save(state, path)
    with pytest.raises(SegmenterError, match=r"dropout 0.0, now 0.1"):
        run(patients, tmp_path / "out", replace(OPTIONS, dropout=0.1))


def test_a_run_without_averaged_weights_is_refused(patients: list[Path], tmp_path: Path):
    run(patients, tmp_path / "run")
    torch.save({"network": {}, "optimiser": {}, "step": 4}, tmp_path / "run" / "checkpoint.pt")
    with pytest.raises(SegmenterError, match="earlier version"):
        run(patients, tmp_path / "run")


def test_it_starts_from_given_weights(patients: list[Path], tmp_path: Path):
    run(patients, tmp_path / "first", replace(OPTIONS, steps=40, save_every=40))
    start = tmp_path / "first" / "fine.safetensors"
    again = run(patients, tmp_path / "again", replace(OPTIONS, steps=2, init=start, learning_rate=1e-4))
    fresh = run(patients, tmp_path / "fresh", replace(OPTIONS, steps=2, learning_rate=1e-4))
    assert again[-1].validation > fresh[-1].validation + 0.4
    with pytest.raises(SegmenterError, match=r"width=4.*trains.*width=8"):
        run(patients, tmp_path / "other", replace(OPTIONS, init=start, width=8))
    with pytest.raises(SegmenterError, match="no weights to start from"):
        run(patients, tmp_path / "none", replace(OPTIONS, init=tmp_path / "nothing"))


def test_without_validation_there_is_no_dice(patients: list[Path], tmp_path: Path):
    said: list[Progress] = []
    Trainer(OPTIONS, patients, [], tmp_path / "run").run(said.append)
    assert [p.validation for p in said] == [None] * 12


def test_a_loss_that_is_no_number_ends_the_run(patients: list[Path], tmp_path: Path):
    with pytest.raises(SegmenterError, match="lower learning_rate"):
        run(patients, tmp_path / "run", replace(OPTIONS, l2=1e38))


def test_the_average_follows_weights_and_statistics_and_soon_forgets_the_start():
    network = nn.BatchNorm3d(1)
    mean = averaged(network, 0.5)
    for value in (1.0, 2.0, 4.0):
        nn.init.constant_(network.weight, value)
        network.running_mean.fill_(10 * value)
        mean.update_parameters(network)
    after_two = 1 + (2 - 1) * (1 - 2 / 11)
    expected = after_two + (4 - after_two) * (1 - 3 / 12)
    assert mean.module.weight.item() == pytest.approx(expected)
    assert mean.module.running_mean.item() == pytest.approx(10 * expected)


def test_without_averaging_the_last_weights_count():
    network = nn.BatchNorm3d(1)
    mean = averaged(network, 0.0)
    for value in (1.0, 2.0):
        nn.init.constant_(network.weight, value)
        mean.update_parameters(network)
    assert torch.equal(mean.module.weight, network.weight)
