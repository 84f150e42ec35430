"""A job for peers of both kinds: one run writes both segmentations, and each peer gets the configured one."""

from contextlib import closing
from dataclasses import dataclass, field

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import Comprehensive3DSRStorage, ExplicitVRLittleEndian, SegmentationStorage
from senders import arrival_of_a_slice

from node.ledger import Ledger
from node.records.jobs import Decision
from node.records.states import JobState
from node.scu.delivery import deliver
from node.settings.settings import load_settings
from segmenter.objects.uids import LABELMAP_STORAGE
from worker.segmentation import SegmentationOutput
from worker.tasks import SegmentTask

UIDS = {"seg": "1.2.10.1", "labelmap": "1.2.10.2", "sr": "1.2.10.3"}
CLASSES = {"seg": SegmentationStorage, "labelmap": LABELMAP_STORAGE, "sr": Comprehensive3DSRStorage}


@dataclass
class WritesBoth:
    """A segmenter that also writes a label map on request."""

    asked: list[bool] = field(default_factory=list)

    def preload(self) -> None:
        self.asked.clear()

    def segment(self, files, out, created, on_stage, model="", extras=None) -> SegmentationOutput:
        self.asked.append(extras.labelmap)
        names = [name for name in UIDS if extras.labelmap or name != "labelmap"]
        return SegmentationOutput(tuple(write(out / f"{name}.dcm", name) for name in names), {})


def write(path, name):
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = CLASSES[name], UIDS[name]
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def second_peer(peer):
    other = type(peer)()
    other.start()
    yield other
    other.stop()


@pytest.mark.parametrize(
    ("destinations", "asked", "first", "second"),
    [
        (("plain", "compact"), True, {"seg", "sr"}, {"labelmap", "sr"}),
        (("plain",), False, {"seg", "sr"}, set()),
        (("compact",), True, set(), {"labelmap", "sr"}),
    ],
)
def test_each_peer_gets_the_kind_of_its_settings(tmp_path, peer, second_peer, destinations, asked, first, second):
    def at(name, server, **more):
        return {"name": name, "ae_title": "PACS", "host": "127.0.0.1", "port": server.port} | more

    peers = [at("plain", peer), at("compact", second_peer, segmentation="labelmap")]
    settings = load_settings(None, node={"data": tmp_path}, peers=peers)
    segmenter = WritesBoth()
    task = SegmentTask(settings, segmenter)
    with closing(Ledger.of(settings)) as ledger, closing(task.ledger):
        ledger.instances.record(arrival_of_a_slice(tmp_path))
        [job] = ledger.queries.jobs()
        ledger.decisions.apply(job.id, Decision(JobState.COMPLETE))
        ledger.decisions.apply(job.id, Decision(JobState.QUEUED, destinations=destinations))
        task.run(job.id)
        for number in ledger.outbox.due(0):
            deliver(ledger, settings, number, f"sender-{number}")
        job = ledger.queries.job(job.id)
        assert (job.state, segmenter.asked) == (JobState.DELIVERED, [asked])
        assert {dcmread(tmp_path / result.key).SOPInstanceUID for result in job.results} >= {UIDS["seg"], UIDS["sr"]}
    assert {uid for uid, _ in peer.received} == {UIDS[name] for name in first}
    assert {uid for uid, _ in second_peer.received} == {UIDS[name] for name in second}
