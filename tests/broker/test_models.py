"""The model of a route: from the job to the network, with a limited number of models in memory."""

from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from senders import arrival_of_a_slice

from node.ledger import Ledger
from node.records.jobs import Decision
from node.records.states import JobState
from node.settings.settings import load_settings
from segmenter.errors import Reason, SegmenterError
from segmenter.vnet.network import VNet, VNetConfig
from segmenter.vnet.weights import save_weights, write_manifest
from worker.segmentation import MODELS_KEPT, SegmentationOutput, VNetSegmenter, loaded_method
from worker.tasks import SegmentTask


@dataclass
class TellsItsModel:
    """A segmenter that records the requested model."""

    asked: list[str] = field(default_factory=list)

    def preload(self) -> None:
        self.asked.append("preload")

    def segment(self, files, out, created, on_stage, model="", extras=None) -> SegmentationOutput:
        self.asked.append(model)
        report = out / "report.json"
        report.write_text("{}")
        return SegmentationOutput((report,), {})


@pytest.mark.parametrize("model", ["", "/models/thin"])
def test_the_model_of_a_job_reaches_the_segmenter(tmp_path, model):
    settings = load_settings(None, node={"data": tmp_path})
    segmenter = TellsItsModel()
    task = SegmentTask(settings, segmenter)
    with closing(Ledger.of(settings)) as ledger:
        ledger.instances.record(arrival_of_a_slice(tmp_path))
        [job] = ledger.queries.jobs()
        ledger.decisions.apply(job.id, Decision(JobState.COMPLETE))
        ledger.decisions.apply(job.id, Decision(JobState.QUEUED, destinations=(), route="thin", model=model))
        task.run(job.id)
        assert ledger.queries.job(job.id).state is JobState.DELIVERED
    task.ledger.close()
    assert segmenter.asked == [model]


def tiny_model(folder: Path, name: str) -> str:
    torch.manual_seed(0)
    (folder / name).mkdir()
    for part, classes in (("coarse", 5), ("fine", 2)):
        save_weights(VNet(VNetConfig(classes=classes, width=2, convs=(1, 1))), folder / name / f"{part}.safetensors")
    write_manifest(folder / name, name, "0.0.1")
    return str(folder / name)


def test_the_model_of_a_route_replaces_the_default_model(tmp_path):
    own = VNetSegmenter(tiny_model(tmp_path, "own"), "cpu")
    with pytest.raises(SegmenterError, match=str(tmp_path / "absent")) as caught:
        own.segment([], tmp_path, None, lambda stage: None, str(tmp_path / "absent"))
    assert caught.value.reason is Reason.MODEL


def test_few_models_are_kept_in_memory_and_each_is_loaded_once(tmp_path):
    loaded_method.cache_clear()
    names = [f"model{n}" for n in range(MODELS_KEPT + 1)]
    for name in names:
        folder = tiny_model(tmp_path, name)
        assert loaded_method(folder, "cpu").name == name
        assert loaded_method(folder, "cpu") is loaded_method(folder, "cpu")
    assert loaded_method.cache_info().currsize == MODELS_KEPT
    assert loaded_method.cache_info().misses == len(names)
