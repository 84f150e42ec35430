"""kill -9 of a receiving process: every acknowledged instance is on disk and in the ledger afterwards."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydicom import dcmread
from pynetdicom.dsutils import split_dataset

from node.errors import PeerError
from node.ledger import Ledger
from node.scu import echo, send_files
from node.settings import Peer, load_settings

REPOSITORY = Path(__file__).parents[2]


class Serving:
    """`qct-node serve` as a process of its own, which can be killed and started again on the same folder."""

    def __init__(self, data, port, poll):
        self.settings = load_settings(None, node={"data": str(data), "dicom_port": port})
        self.peer = Peer(name="node", ae_title="QCTNODE", host="127.0.0.1", port=port)
        self._environment = {**os.environ, "QCT_NODE_NODE__DATA": str(data), "QCT_NODE_NODE__DICOM_PORT": str(port)}
        self._poll = poll
        self._process = None

    def start(self):
        command = [sys.executable, "-m", "node", "serve"]
        self._process = subprocess.Popen(command, cwd=REPOSITORY, env=self._environment, stderr=subprocess.DEVNULL)
        self._poll(self._answers, 60, "qct-node serve")

    def kill(self):
        """Kill the parent; the kernel kills the receivers with it, a moment later."""
        if self._process is not None:
            receivers = self.receivers()
            self._process.kill()
            self._process.wait()
            self._process = None
            self._poll(lambda: not any(Path(f"/proc/{pid}").exists() for pid in receivers), 10, "the receivers' end")

    def receivers(self):
        return [
            int(pid) for pid in Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        ]

    def _answers(self):
        assert self._process.poll() is None, "serve ended by itself"
        try:
            echo(self.peer, "TEST", timeout=2)
        except PeerError:
            return False
        return True

    def rows(self):
        """Return SOP Instance UID -> (path, digest of what was sent) as the ledger has it."""
        ledger = Ledger.of(self.settings)
        with ledger._read() as connection:
            rows = connection.exec_driver_sql("SELECT sop_uid, path, sha256 FROM instances").all()
        ledger.close()
        return {uid: (self.settings.data / path, sha256) for uid, path, sha256 in rows}


@pytest.fixture
def serving(tmp_path, free_port, poll):
    server = Serving(tmp_path / "data", free_port(), poll)
    server.start()
    yield server
    server.kill()


@pytest.mark.parametrize("deadly", [1, 7, 19])
def test_what_was_acknowledged_is_there_after_kill_9(serving, ct_series, deadly):
    files = ct_series(30)
    acknowledged = []

    def note(sent):
        if sent.ok:
            acknowledged.append(sent.sop_uid)
        if len(acknowledged) == deadly:
            serving.kill()

    outcomes = send_files(serving.peer, files, "SCANNER", note, timeout=5)
    assert len(acknowledged) >= deadly
    assert all(sent.retry for sent in outcomes if not sent.ok), "what was lost may be sent again"
    rows = serving.rows()
    assert set(acknowledged) <= set(rows)
    for path, sha256 in rows.values():
        meta, offset = split_dataset(path)
        sent = str(meta.TransferSyntaxUID).encode() + path.read_bytes()[offset:]
        assert hashlib.sha256(sent).hexdigest() == sha256
        assert dcmread(path).pixel_array.shape == (64, 72)

    serving.start()
    assert all(sent.ok for sent in send_files(serving.peer, files, "SCANNER"))
    assert len(serving.rows()) == 30
    ledger = Ledger.of(serving.settings)
    [job] = ledger.jobs()
    ledger.close()
    assert job.instances == 30


def test_serve_stops_cleanly_on_sigterm(serving, ct_series):
    assert all(sent.ok for sent in send_files(serving.peer, ct_series(2), "SCANNER"))
    serving._process.terminate()
    assert serving._process.wait(timeout=20) == 0
    assert len(serving.rows()) == 2
