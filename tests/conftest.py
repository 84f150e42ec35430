"""Fixtures for all tests: free ports, polling with a deadline, external services."""

import contextlib
import hashlib
import json
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import ct_factory
import ports
import pytest
import sharing
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    Comprehensive3DSRStorage,
    RawDataStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
    Verification,
)

ROOT = Path(__file__).parents[1]
PATIENCE = 60.0  # s, for what takes a second or two on a machine that has nothing else to do


def pytest_configure(config: pytest.Config) -> None:
    sharing.configure(config)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):  # one of several processes
        items.sort(key=lambda item: sharing.place_of(item.nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> sharing.GroupScheduling:
    return sharing.GroupScheduling(config, log)


def require_tool(name: str) -> str:
    """Return the tool's path; without the tool skip, or fail under CI.

    The folder of this Python does not count: pynetdicom installs programs there with the names of DCMTK's.
    """
    own = Path(sys.executable).parent
    folders = [folder for folder in os.get_exec_path() if Path(folder) != own]
    path = shutil.which(name, path=os.pathsep.join(folders))
    if path is None and os.environ.get("CI"):
        pytest.fail(f"{name} is not installed")
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def poll_until(condition: Callable[[], Any], seconds: float = PATIENCE, what: str = "the condition") -> Any:
    """Return the first true value of `condition`, checked every 50 ms; fail after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not come true within {seconds:.0f} s")


@pytest.fixture(scope="session")
def ct() -> ModuleType:
    """The module ct_factory: CtSpec, write_ct, write_enhanced, ORIENTATIONS."""
    return ct_factory


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    return require_tool


@pytest.fixture(scope="session")
def poll() -> Callable[..., Any]:
    return poll_until


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    return ports.free_port


class RedisServer:
    """A redis-server on one port, which can be killed and restarted."""

    def __init__(self, program: str, port: int, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self.port = port
        self.url = f"redis://127.0.0.1:{port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [
            self._program,
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ]
        self._process = subprocess.Popen([*command, "--dir", str(self._folder)], stdout=subprocess.DEVNULL)
        poll_until(self._answers, what="redis-server")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            with closing(socket.create_connection(("127.0.0.1", self.port), 1)) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


@pytest.fixture
def redis_server(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[RedisServer]:
    server = RedisServer(require_tool("redis-server"), free_port(), tmp_path)
    server.start()
    yield server
    server.kill()


class Peer:
    """A Storage SCP that records received objects and answers with `status`; the next answer waits for `hold`."""

    def __init__(self) -> None:
        self.status = 0x0000
        self.received: list[tuple[str, str]] = []
        self.associations = 0
        self.hold: threading.Event | None = None
        self.port = ports.free_port()
        self._server = None

    def start(self) -> None:
        ae = AE("PACS")
        ae.add_supported_context(RawDataStorage)
        ae.add_supported_context(SegmentationStorage)
        ae.add_supported_context("1.2.840.10008.5.1.4.1.1.66.7")  # Label Map Segmentation Storage
        ae.add_supported_context(Comprehensive3DSRStorage)
        ae.add_supported_context(SecondaryCaptureImageStorage)
        ae.add_supported_context(Verification)
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_ACCEPTED, self._accepted)]
        self._server = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)

    def require_calling_ae(self, title: str) -> None:
        assert self._server is not None
        self._server.ae.require_calling_aet = [title]

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def _accepted(self, _event) -> None:
        self.associations += 1

    def _store(self, event) -> int:
        if self.status == 0x0000:
            data = event.request.DataSet.getvalue()
            self.received.append((event.request.AffectedSOPInstanceUID, hashlib.sha256(data).hexdigest()))
        hold, self.hold = self.hold, None
        if hold is not None:
            hold.wait(30)
        return self.status


@pytest.fixture
def peer():
    server = Peer()
    server.start()
    yield server
    server.stop()


class NodeProcess:
    """A complete node as a process, from its ready line to its end."""

    def __init__(self, command: list[str], folder: Path, name: str) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests" / "broker")))}
        self.log = folder / f"{name}.log"
        self.dicom_port, self.web = 0, ""
        with self.log.open("wb") as stderr:
            self.process = subprocess.Popen(
                command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=stderr, text=True
            )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def ready(self, seconds: float = 2 * PATIENCE) -> "NodeProcess":
        """Wait for the ready line and read the addresses from it."""
        line = self._lines.get(timeout=seconds)
        host = r"(?:127\.0\.0\.1|\[::1?\])"
        found = re.fullmatch(rf"ready: dicom {host}:(\d+) aet QCTNODE, web (http://{host}:\d+)\n", line)
        assert found, f"{line!r}\n{self.log.read_text()}"
        self.dicom_port, self.web = int(found[1]), found[2]
        return self

    def stop(self, number: int = signal.SIGTERM, seconds: float = PATIENCE) -> tuple[int, str]:
        """Send a signal; return the exit code and the output on stdout after the ready line."""
        self.process.send_signal(number)
        code = self.process.wait(seconds)
        return code, "".join(iter(lambda: self._lines.get(timeout=30), ""))

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.web + path, timeout=30) as answer:
            return json.load(answer)

    def descendants(self) -> set[int]:
        """Return the process ids of all children, their children and so on."""
        parents = {}
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        found = {self.process.pid}
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return found - {self.process.pid}

    @staticmethod
    def running(pids: set[int]) -> set[int]:
        """Return those that still run; a zombie process does not count."""
        found = set()
        for pid in pids:
            with contextlib.suppress(OSError):
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
                found |= {pid} if state not in "ZX" else set()
        return found

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for line in stream:
                self._lines.put(line)
        self._lines.put("")


@pytest.fixture
def start_node(tmp_path: Path) -> Iterator[Callable[..., NodeProcess]]:
    """Start nodes by their command line; those still running at the end are killed."""
    started: list[NodeProcess] = []

    def start(*command: str) -> NodeProcess:
        started.append(NodeProcess([sys.executable, *command], tmp_path, f"node{len(started)}"))
        return started[-1]

    yield start
    for node in started:
        if node.process.poll() is None:
            node.process.kill()
        node.process.wait()
