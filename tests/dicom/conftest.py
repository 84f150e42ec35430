"""A receiving node in this process, small CT slices, and senders."""

import subprocess

import pytest
from ct_factory import CtSpec, write_own_series
from odd_peer import OddPeer
from serve_process import ServeProcess

from node.ledger import Ledger
from node.scp.listener import Receiver
from node.scu.storage import send_files
from node.settings.routing import Peer
from node.settings.settings import load_settings


@pytest.fixture
def ct_series(tmp_path):
    """Return a function that writes a CT series of its own UIDs and returns its files; `edit` changes each data set."""

    def write(slices=4, edit=lambda index, dataset: None, **tags):
        return write_own_series(tmp_path, CtSpec(shape=(slices, 64, 72), tags=tags), edit)

    return write


class ReceivingNode:
    """An SCP on a free port with its own data folder and ledger."""

    def __init__(self, data, **sections):
        own = {"data": str(data), "dicom_port": 0} | sections.pop("node", {})
        self.settings = load_settings(None, node=own, **sections)
        self.ledger = Ledger.of(self.settings)
        self.receiver = Receiver(self.settings, self.ledger)
        self.peer = Peer(name="node", ae_title="QCTNODE", host="127.0.0.1", port=self.receiver.port)

    def send(self, *files, calling="SCANNER", on_each=None):
        return send_files(self.peer, files, calling, on_each)

    def only_job(self):
        [job] = self.ledger.queries.jobs()
        return job

    def stored_files(self, job_id):
        """Return the files of a job's instances."""
        return [self.settings.data / key for key in self.ledger.instances.keys_of(job_id)]

    def stored(self):
        """Return the files in the inbox, temporary ones included."""
        return sorted(path for path in (self.settings.data / "inbox").rglob("*") if path.is_file())

    def close(self):
        self.stop()
        self.ledger.close()

    def stop(self):
        """Stop receiving and end every association."""
        if self.receiver is not None:
            self.receiver.stop()
            self.receiver = None


@pytest.fixture
def start_node(tmp_path, monkeypatch):
    """Return a function that starts a receiving node with the given settings."""
    monkeypatch.chdir(tmp_path)
    started = []

    def start(**sections):
        started.append(ReceivingNode(tmp_path / f"data{len(started)}", **sections))
        return started[-1]

    yield start
    for node in started:
        node.close()


@pytest.fixture
def node(start_node):
    return start_node()


@pytest.fixture
def start_serving(tmp_path, free_port, poll):
    """Return a function that starts `qct-node serve` with the given environment."""
    started = []

    def start(stderr=subprocess.DEVNULL, **environment):
        started.append(ServeProcess(tmp_path / "data", free_port(), poll, **environment))
        started[-1].start(stderr)
        return started[-1]

    yield start
    for server in started:
        server.kill()


@pytest.fixture
def serving(start_serving):
    return start_serving()


@pytest.fixture
def dcmtk(tool):
    """Return a function that runs one of DCMTK's programs and returns the finished process."""

    def run(program, *arguments):
        command = [tool(program), *map(str, arguments)]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)

    return run


@pytest.fixture
def start_odd():
    """Return a function that starts an archive made by hand."""
    started = []

    def start(behave):
        started.append(OddPeer(behave))
        return started[-1]

    yield start
    for each in started:
        each.stop()
