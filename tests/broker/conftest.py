"""A ledger with one series, a broker, workers as processes and a peer."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from senders import arrival_of_a_slice

from node.dispatch.celery_app import make_app
from node.dispatch.dispatcher import Dispatcher
from node.ledger import Ledger
from node.records.jobs import Decision
from node.records.states import JobState
from node.settings.settings import load_settings

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.fixture(params=["embedded", "redis"])
def broker(request):
    """The URL of the broker and, for Redis, the server; every test with this fixture runs over both."""
    if request.param == "embedded":
        return "embedded", None
    server = request.getfixturevalue("redis_server")
    return server.url, server


class Site:
    """One node's data folder with its ledger, dispatcher and worker processes."""

    def __init__(self, folder: Path, broker_url: str, peer_port: int) -> None:
        self.folder = folder
        self.file = folder / "qct-node.toml"
        self.file.write_text(
            f'[node]\ndata = "{folder / "data"}"\nbroker_url = "{broker_url}"\n'
            f'[[peers]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = {peer_port}\n'
            "[jobs]\nlease_seconds = 3\nheartbeat_seconds = 0.5\nredispatch_seconds = 1\n"
            "[delivery]\nbackoff_seconds = [0.5, 1]\nlease_seconds = 5\ntimeout_seconds = 20\n"
        )
        self.settings = load_settings(self.file)
        self.ledger = Ledger.of(self.settings)
        self.dispatcher = Dispatcher(make_app(self.settings), pause=0.5)
        self._workers: list[subprocess.Popen] = []
        self.order("quick")

    def order(self, text: str) -> None:
        (self.folder / "order").write_text(text)

    def count(self, name: str) -> int:
        path = self.folder / name
        return len(path.read_text().splitlines()) if path.exists() else 0

    def queued_job(self, destinations: tuple[str, ...] = (), priority: int = 0) -> str:
        """Record one slice of a new series and queue its job."""
        arrival = arrival_of_a_slice(self.settings.data)
        self.ledger.instances.record(arrival)
        (job,) = [job for job in self.ledger.queries.jobs() if job.series_uid == arrival.header.series_uid]
        self.ledger.decisions.apply(job.id, Decision(JobState.COMPLETE))
        self.ledger.decisions.apply(job.id, Decision(JobState.QUEUED, destinations=destinations, priority=priority))
        return job.id

    def worker(self, queue: str = "segment", **settings: str) -> subprocess.Popen:
        command = [sys.executable, str(HERE / "stub_worker.py"), str(self.file), str(self.folder), queue]
        environment = {**os.environ, "PYTHONPATH": f"{HERE}{os.pathsep}{ROOT}"}
        environment |= {f"QCT_NODE_JOBS__{key.upper()}": value for key, value in settings.items()}
        process = subprocess.Popen(command, env=environment, process_group=0)
        self._workers.append(process)
        return process

    def state(self, job_id: str) -> JobState:
        return self.ledger.queries.job(job_id).state

    def close(self) -> None:
        for process in self._workers:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.ledger.close()


@pytest.fixture
def site(tmp_path, broker, peer):
    made = Site(tmp_path, broker[0], peer.port)
    yield made
    made.close()


@pytest.fixture
def redis_site(tmp_path, redis_server, peer):
    made = Site(tmp_path, redis_server.url, peer.port)
    yield made
    made.close()
