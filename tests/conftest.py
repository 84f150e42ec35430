"""Fixtures for every kind of test: free ports, polling with a deadline, real outside services."""

import hashlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import RawDataStorage, Verification


def require_tool(name: str) -> str:
    """Return the tool's path; without it skip on a laptop, fail under CI."""
    path = shutil.which(name)
    if path is None and os.environ.get("CI"):
        pytest.fail(f"{name} is not installed")
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def poll_until(condition: Callable[[], Any], seconds: float = 20.0, what: str = "the condition") -> Any:
    """Return the first true value of `condition`, asked every 50 ms; fail after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not come true within {seconds:.0f} s")


@pytest.fixture
def tool() -> Callable[[str], str]:
    return require_tool


@pytest.fixture
def poll() -> Callable[..., Any]:
    return poll_until


@pytest.fixture
def free_port() -> Callable[[], int]:
    def choose() -> int:
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
            return port

    return choose


class RedisServer:
    """A real redis-server on one port, which can be killed and started again."""

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
    """A real Storage SCP that keeps what it gets and answers with `status`."""

    def __init__(self) -> None:
        self.status = 0x0000
        self.received: list[tuple[str, str]] = []
        self.associations = 0
        self.port = 0
        self._server = None

    def start(self) -> None:
        ae = AE("PACS")
        ae.add_supported_context(RawDataStorage)
        ae.add_supported_context(Verification)
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_ACCEPTED, self._accepted)]
        self._server = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        self.port = self._server.server_address[1]

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
        return self.status


@pytest.fixture
def peer():
    server = Peer()
    server.start()
    yield server
    server.stop()
