"""A whole node with a frozen peer and a healthy one: who gets results, what is told, and how long a stop takes."""

import time
from pathlib import Path

import pytest
from ct_factory import CtSpec, write_own_series
from odd_peer import OddPeer, acceptance, storing

from node.scu.storage import send_files
from node.settings.routing import Peer

STUB_NODE = str(Path(__file__).with_name("stub_node.py"))
SETTINGS = """
[node]
data = "data"
dicom_port = {dicom}
http_port = {http}
[intake]
quiet_seconds = 1
accept_unknown_peers = true
[delivery]
timeout_seconds = 60
[[peers]]
name = "frozen"
ae_title = "ODD"
host = "127.0.0.1"
port = {frozen}
[[peers]]
name = "good"
ae_title = "ODD"
host = "127.0.0.1"
port = {good}
"""


@pytest.fixture
def peers():
    frozen = OddPeer(lambda talk, body: (talk.say(acceptance(body)), talk.stall()))
    good = OddPeer(storing())
    yield frozen, good
    frozen.stop()
    good.stop()


def test_a_frozen_peer_stops_neither_the_others_nor_the_end(start_node, tmp_path, free_port, peers, poll):
    frozen, good = peers
    ports = {"dicom": free_port(), "http": free_port(), "frozen": frozen.peer.port, "good": good.peer.port}
    settings = tmp_path / "qct-node.toml"
    settings.write_text(SETTINGS.format(**ports))
    (tmp_path / "order").write_text("quick")
    node = start_node(STUB_NODE, str(settings), str(tmp_path)).ready()
    to_node = Peer(name="node", ae_title="QCTNODE", host="127.0.0.1", port=node.dicom_port)
    for number in range(5):
        folder = tmp_path / f"ct{number}"
        files = write_own_series(folder, CtSpec(shape=(40, 64, 72)), lambda index, dataset: None)
        assert all(sent.ok for sent in send_files(to_node, files, "SCANNER"))
    poll(lambda: len(good.stored) == 5, 180, "the results of all five at the healthy peer")
    assert frozen.associations == 2
    began = time.monotonic()
    assert node.stop() == (0, "")
    assert time.monotonic() - began < 20, "nobody waits for the frozen peer's 60 s"
    assert "was killed" not in node.log.read_text()
