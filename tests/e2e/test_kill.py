"""A node that is stopped or killed during its work delivers the result to the PACS exactly once.

The node is `up` with a stub segmenter that waits for the order of the test.
"""

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from importlib import resources
from pathlib import Path

import pytest

from node.scu.storage import send_files
from node.settings.routing import Peer

STUB_NODE = str(Path(__file__).with_name("stub_node.py"))
SETTINGS = """\
[node]
data = "data"
dicom_port = 0
http_port = 0
broker_url = "{broker}"
[intake]
quiet_seconds = 0.5
accept_unknown_peers = true
[[peers]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = {port}
[jobs]
lease_seconds = 3
heartbeat_seconds = 0.5
redispatch_seconds = 1
[delivery]
backoff_seconds = [0.5]
lease_seconds = 3
timeout_seconds = 10
"""


class Site:
    """A node that can be restarted on its data, the scanner that sends to it, the orders for the stub segmenter."""

    def __init__(self, folder: Path, start, files: list[Path], command: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.order("wait")
        self._start = start
        self._files = files
        self._command = command or (STUB_NODE, str(folder / "qct-node.toml"), str(folder))
        self.begin()

    def begin(self) -> None:
        self.node = self._start(*self._command).ready()

    def order(self, text: str) -> None:
        (self.folder / "order").write_text(text)

    def scan(self) -> None:
        peer = Peer(name="node", ae_title="QCTNODE", host="127.0.0.1", port=self.node.dicom_port)
        assert all(sent.ok for sent in send_files(peer, self._files, "SCANNER"))

    def job(self) -> dict:
        (job,) = self.node.get("/api/jobs") or [{"state": "", "stage": ""}]
        return job


@pytest.fixture
def site(request, tmp_path, start_node, ct, peer):
    broker = getattr(request, "param", "embedded")
    if broker == "redis":
        broker = request.getfixturevalue("redis_server").url
    (tmp_path / "qct-node.toml").write_text(SETTINGS.format(broker=broker, port=peer.port))
    return Site(tmp_path, start_node, ct.write_ct(tmp_path / "ct", ct.CtSpec()))


def test_a_node_stopped_during_a_job_requeues_it_and_delivers_it_later(site, peer, poll):
    site.scan()
    poll(lambda: site.job()["stage"] == "segment", seconds=180)
    assert site.node.stop() == (0, "")
    assert not peer.received
    site.order("quick")
    site.begin()
    poll(lambda: site.job()["state"] == "delivered")
    assert site.job()["attempts"] == 1
    assert len(peer.received) == 1


@pytest.mark.parametrize("site", ["embedded", "redis"], indirect=True)
def test_a_node_killed_during_a_job_delivers_it_after_its_restart(site, peer, poll):
    site.scan()
    poll(lambda: site.job()["stage"] == "segment", seconds=180)
    descendants = site.node.descendants()
    site.node.process.kill()
    site.node.process.wait()
    poll(lambda: not site.node.running(descendants), what="the end of all parts")
    site.order("quick")
    site.begin()
    poll(lambda: site.job()["state"] == "delivered")
    assert site.job()["attempts"] == 2
    assert len(peer.received) == 1


def test_a_node_killed_during_a_delivery_sends_the_same_bytes_again(site, peer, poll):
    hold = threading.Event()
    peer.hold = hold
    site.order("quick")
    site.scan()
    poll(lambda: peer.received, what="the result at the peer")
    site.node.process.kill()
    site.node.process.wait()
    hold.set()
    site.begin()
    poll(lambda: site.job()["state"] == "delivered")
    assert site.job()["attempts"] == 1
    assert list(Counter(peer.received).values()) == [2]


def test_a_killed_child_of_the_worker_costs_one_attempt(site, peer, poll):
    site.scan()
    poll(lambda: site.job()["stage"] == "segment", seconds=180)
    os.kill(int(site.job()["worker"].split("-")[-2]), signal.SIGKILL)
    site.order("quick")
    poll(lambda: site.job()["state"] == "delivered")
    assert site.job()["attempts"] == 2
    assert len(peer.received) == 1


def test_absent_pacs_gets_the_result_when_it_is_back(site, peer, poll):
    peer.stop()
    site.order("quick")
    site.scan()
    poll(lambda: "nothing listens there" in site.job().get("reason", ""))
    assert site.job()["state"] == "delivering"
    peer.start()
    poll(lambda: site.job()["state"] == "delivered")
    assert len(peer.received) == 1


@pytest.mark.timeout(600)
def test_a_killed_node_with_the_vnet_delivers_one_seg(tmp_path, start_node, peer, poll):
    require_model()
    (tmp_path / "qct-node.toml").write_text(SETTINGS.format(broker="embedded", port=peer.port))
    phantom = ("phantom", "--size", "128", "--slices", "48", "--step", "4", "--out", str(tmp_path / "patient"))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-m", "node", *phantom], check=True, capture_output=True, env=environment)
    files = sorted((tmp_path / "patient" / "dicom").iterdir())
    site = Site(tmp_path, start_node, files, ("-m", "node", "up"))
    site.scan()
    poll(lambda: site.job()["stage"] in {"locate", "segment"}, 180)
    site.node.process.kill()
    site.node.process.wait()
    site.begin()
    poll(lambda: site.job()["state"] in {"delivered", "failed", "held", "declined"}, 180)
    job = site.job()
    assert (job["state"], job["attempts"]) == ("delivered", 2), job["reason"]
    assert sorted(uid for uid, _ in peer.received) == sorted(row["sop_uid"] for row in job["deliveries"])
    assert {Path(path).name for path in job["outputs"]} == {
        "seg.dcm", "sr.dcm", "sc.dcm", "overlay.png", "overlay.pdf", "report.json",
    }  # fmt: skip


def require_model() -> None:
    """Without the shipped weights skip, or fail under CI."""
    if not (resources.files("segmenter") / "data" / "model" / "model.json").is_file():
        (pytest.fail if os.environ.get("CI") else pytest.skip)("the weights are not in segmenter/data/model")
