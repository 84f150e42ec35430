"""The parts of the worker: the heartbeat, the atomic result folder, the shipped segmenter."""

import os
import pickle
import time
from datetime import UTC, datetime

import pytest
import torch

from node.files.results import ResultFolder
from node.settings.settings import load_settings
from segmenter.errors import Reason, SegmenterError
from segmenter.synth.series import SyntheticSeriesOptions, write_synthetic_series
from segmenter.vnet.network import VNet, VNetConfig
from segmenter.vnet.weights import save_weights, write_manifest
from worker.app import make_worker_app
from worker.heartbeat import INTERRUPT, ClaimLostError, Heartbeat, StoppingError
from worker.segmentation import VNetSegmenter

CREATED = datetime(2026, 1, 2, tzinfo=UTC)


def beats(answers: list[bool]):
    """Return a heartbeat with these answers (the last is repeated) and the list of stages reported to it."""
    stages: list[str] = []

    def beat(stage: str) -> bool:
        stages.append(stage)
        return answers.pop(0) if len(answers) > 1 else answers[0]

    return beat, stages


def test_the_heartbeat_reports_the_stage_at_once_and_continues():
    beat, stages = beats([True])
    with Heartbeat(beat, 0.02) as heartbeat:
        heartbeat.stage("read")
        assert stages == ["read"]
        end = time.monotonic() + 5
        while len(stages) < 4 and time.monotonic() < end:
            time.sleep(0.01)
    told = len(stages)
    assert stages == ["read"] * told
    assert told >= 4


def test_a_lost_claim_interrupts_the_segmentation():
    beat, _ = beats([True, True, False])
    began = time.monotonic()
    with pytest.raises(ClaimLostError), Heartbeat(beat, 0.02):
        time.sleep(30)
    assert time.monotonic() - began < 5


def test_lost_claim_is_raised_by_the_next_stage():
    beat, _ = beats([False])
    with pytest.raises(ClaimLostError), Heartbeat(beat, 60) as heartbeat:
        heartbeat.stage("read")


def test_an_interrupt_stops_the_work_once_and_not_the_cleanup():
    beat, _ = beats([True])
    cleaned = False
    with pytest.raises(StoppingError), Heartbeat(beat, 60):
        try:
            os.kill(os.getpid(), INTERRUPT)
            time.sleep(30)
        finally:
            os.kill(os.getpid(), INTERRUPT)
            cleaned = True
    assert cleaned
    os.kill(os.getpid(), INTERRUPT)  # ignored between two jobs


def test_a_short_failure_of_the_ledger_does_not_stop_the_work():
    calls = []

    def beat(stage: str) -> bool:
        calls.append(stage)
        if len(calls) < 3:
            raise OSError("the ledger is away")
        return True

    with Heartbeat(beat, 0.01) as heartbeat:
        heartbeat.stage("read")
        end = time.monotonic() + 5
        while len(calls) < 4 and time.monotonic() < end:
            time.sleep(0.01)
    assert len(calls) >= 4


def kept_folder(data, attempt):
    folder = ResultFolder(data, "job", attempt)
    folder.create()
    made = folder.path / "report.json"
    made.write_text("{}")
    return folder, folder.keep([made])


def test_each_attempt_has_a_folder_of_its_own_which_no_other_attempt_touches(tmp_path):
    first, (early,) = kept_folder(tmp_path, "a1")
    second, (late,) = kept_folder(tmp_path, "a2")
    assert (late.kind, late.key, late.size, late.sop_uid) == ("report", "results/job/a2/report.json", 2, "")
    first.discard()
    assert not (tmp_path / early.key).exists()
    second.discard_unless_kept()
    assert (tmp_path / late.key).read_text() == "{}"


def test_an_attempt_without_results_leaves_nothing(tmp_path):
    folder = ResultFolder(tmp_path, "job", "a1")
    folder.create()
    folder.discard_unless_kept()
    assert not any((tmp_path / "results").iterdir())


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    (tmp_path / "model").mkdir()
    for name, classes in (("coarse", 5), ("fine", 2)):
        network = VNet(VNetConfig(classes=classes, width=2, convs=(1, 1)))
        save_weights(network, tmp_path / "model" / f"{name}.safetensors")
    write_manifest(tmp_path / "model", "tiny", "0.0.1")
    return str(tmp_path / "model")


def test_the_segmenter_reports_a_missing_model(tmp_path):
    with pytest.raises(SegmenterError, match=str(tmp_path)) as caught:
        VNetSegmenter(str(tmp_path / "none"), "cpu").preload()
    assert caught.value.reason is Reason.MODEL


def test_the_segmenter_reports_a_wrong_calibration_before_the_first_job(tmp_path):
    (tmp_path / "phantoms.toml").write_text("mode = 'auto'\n")
    with pytest.raises(SegmenterError, match=r"phantoms.toml cannot be used: mode = \"auto\" needs"):
        VNetSegmenter(device="cpu", calibration=str(tmp_path / "phantoms.toml")).preload()


def test_the_segmenter_runs_the_pipeline_and_reports_its_stages(tmp_path):
    stages: list[str] = []
    series = write_synthetic_series(
        SyntheticSeriesOptions(seed=4, slices=28, size=128, slice_step_mm=5.0), tmp_path / "patient"
    )
    files = sorted(series.iterdir())
    first = VNetSegmenter(device="cpu").segment(files, tmp_path / "a", CREATED, stages.append)
    assert stages == ["read", "locate", "segment", "measure", "write", "check", "report"]
    assert list(first.report["timings"]) == stages
    assert [path.name for path in first.files] == [
        "seg.dcm", "sr.dcm", "sc.dcm", "overlay.png", "overlay.pdf", "report.json",
    ]  # fmt: skip
    assert first.report["outputs"] == [path.name for path in first.files]
    second = VNetSegmenter(device="cpu").segment(files, tmp_path / "b", CREATED, stages.append)
    for one, other in zip(first.files[:-1], second.files[:-1], strict=True):  # the last value is in seconds
        assert one.read_bytes() == other.read_bytes()


def test_the_app_starts_in_the_child_with_its_tasks_settings_and_segmenter(tmp_path, model):
    segmenter = {"model": model, "device": "cpu", "calibration": "phantoms.toml"}
    given = {"node": {"data": tmp_path}, "segmenter": segmenter, "jobs": {"max_attempts": 7}}
    app = pickle.loads(pickle.dumps(make_worker_app(load_settings(None, **given))))
    assert app.settings.jobs.max_attempts == 7
    assert app.settings.data == tmp_path
    assert app.tasks["qct.segment"].segmenter == VNetSegmenter(model, "cpu", calibration="phantoms.toml")
    assert "qct.deliver" in app.tasks
    assert list(app.conf.accept_content) == ["json"]
