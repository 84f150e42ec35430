"""Input that is not a hip CT, sent to a running node: each gets its reason in `qct-node jobs`; the node stays up."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ct_factory import CtSpec, write_ct, write_own_series
from pydicom import dcmread
from pydicom.uid import MRImageStorage
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage

from node.scu.storage import send_files
from node.settings.routing import Peer

SETTINGS = """\
[node]
data = "data"
dicom_port = 0
http_port = 0
[intake]
quiet_seconds = 0.5
"""


def chest(index: int, shape: tuple[int, int]) -> np.ndarray:
    """Return one slice of a chest phantom, HU: a trunk with lungs, a spine and ribs."""
    y, x = (np.indices(shape) - (np.array(shape)[:, None, None] - 1) / 2) * 5.0  # mm
    hu = np.where((x / 160) ** 2 + (y / 110) ** 2 < 1, 40.0, -1000.0)
    for side in (-1, 1):
        hu[((x - side * 75) / 55) ** 2 + (y / 80) ** 2 < 1] = -850
        rib = np.hypot(x - side * 130 * np.cos(index / 3), y - 85 * np.sin(index / 3))
        hu[rib < 7] = 500
    spine = np.hypot(x, y - 75)
    hu[spine < 20] = 200
    hu[(spine < 20) & (spine > 17)] = 700
    return hu


@pytest.fixture
def node(tmp_path: Path, start_node):
    (tmp_path / "qct-node.toml").write_text(SETTINGS)
    return start_node("-m", "node", "--config", str(tmp_path / "qct-node.toml"), "up").ready(120)


@pytest.fixture
def send(node, tmp_path: Path):
    """Send a CT series with an edit of each data set and `lost` bytes off each file; returns the answers."""

    def go(edit, shape=(40, 64, 72), lost=0):
        spec = CtSpec(shape=shape, spacing=(5.0, 5.0, 5.0))
        files = write_own_series(tmp_path, spec, edit)
        for path in files if lost else ():
            path.write_bytes(path.read_bytes()[:-lost])
        peer = Peer(name="node", ae_title="QCTNODE", host="127.0.0.1", port=node.dicom_port)
        return send_files(peer, files, "SCANNER")

    return go


@pytest.fixture
def jobs(tmp_path: Path):
    """Return the rows of `qct-node jobs --json`."""

    def ask():
        command = [sys.executable, "-m", "node", "--config", str(tmp_path / "qct-node.toml"), "jobs", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    return ask


def as_chest(index, dataset):
    hu = chest(index, (dataset.Rows, dataset.Columns))
    dataset.PixelData = np.round(hu - float(dataset.RescaleIntercept)).astype("<i2").tobytes()
    dataset.BodyPartExamined = dataset.StudyDescription = dataset.SeriesDescription = ""


def as_chest_by_name(_, dataset):
    dataset.BodyPartExamined = "CHEST"


def as_mr(_, dataset):
    dataset.SOPClassUID, dataset.Modality = MRImageStorage, "MR"


def as_it_is(_, dataset):
    """Leave it."""


def as_localiser(_, dataset):
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]


@pytest.mark.timeout(400)
def test_each_kind_of_wrong_input_has_its_reason_and_the_node_stays_up(node, send, jobs, poll, tmp_path):
    assert all(sent.ok for sent in send(as_chest))
    assert all(sent.ok for sent in send(as_chest_by_name, shape=(20, 16, 16)))
    assert all(sent.ok for sent in send(as_mr, shape=(4, 16, 16)))
    assert all(sent.ok for sent in send(as_localiser, shape=(1, 16, 16)))
    assert not any(sent.ok for sent in send(as_it_is, shape=(1, 16, 16), lost=100))
    ae = AE("SCANNER")
    ae.add_requested_context(CTImageStorage)
    ae.associate("127.0.0.1", node.dicom_port, ae_title="QCTNODE").release()

    unfinished = ("received", "complete", "queued", "running")
    rows = poll(lambda: not any(r["state"] in unfinished for r in node.get("/api/jobs")) and jobs(), 200, "decisions")
    assert all(row["reason"] for row in rows)
    # A chest without telling headers is processed, and the report says that there is no femur.
    looked_at, *others = sorted(rows, key=lambda row: row["state"] != "delivered")
    assert {row["state"] for row in others} == {"declined"}, rows
    assert looked_at["reason"].startswith("there is no proximal femur in the scan")
    assert {Path(path).name for path in looked_at["outputs"]} >= {"sr.dcm", "report.json"}
    assert "seg.dcm" not in str(looked_at["outputs"])
    reasons = " | ".join(row["reason"] for row in rows)
    for word in ("no proximal femur", "CHEST", "MR", "localiser", "interrupted", "without a C-STORE or C-ECHO request"):
        assert word in reasons
    assert len(rows) == 6, reasons
    assert node.get("/healthz")
    assert node.stop() == (0, "")


def test_the_chest_scan_is_not_empty(tmp_path):
    spec = CtSpec(shape=(4, 64, 72), spacing=(5.0, 5.0, 5.0))
    (first, *_) = write_ct(tmp_path / "chest", spec, as_chest)
    data = dcmread(first)
    hu = data.pixel_array + float(data.RescaleIntercept)
    assert hu.min() <= -1000
    assert hu.max() >= 500
