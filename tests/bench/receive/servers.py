"""The receivers under comparison: our node, DCMTK's storescp with and without --fork, Orthanc."""

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.figures import OUT
from bench.receive.processes import settle

FOLDER = OUT / "receive"
EMPTIED = FOLDER / "emptied"
START_SECONDS, STOP_SECONDS = 60, 60


@dataclass(frozen=True)
class Kind:
    """How a receiver is started (folder of its store, port -> command), and how its stored objects are counted."""

    name: str
    ae_title: str
    command: Callable[[Path, int], list[str]]
    stored: Callable[[Path], int]


@dataclass(frozen=True)
class Server:
    """A running receiver, from its first answer to a C-ECHO on."""

    kind: Kind
    pid: int
    port: int
    store: Path

    def stored(self) -> int:
        """Return the number of stored objects."""
        return self.kind.stored(self.store)


def free_port() -> int:
    """Return a free port of the loopback interface."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _node(store: Path, port: int) -> list[str]:
    settings = store / "qct-node.toml"
    settings.write_text(f'[node]\ndata = "data"\ndicom_port = {port}\n')
    return [sys.executable, "-m", "node", "--config", str(settings), "serve"]


def _rows_with_their_files(store: Path) -> int:
    data = store / "data"
    with closing(sqlite3.connect(f"file:{data / 'ledger.sqlite3'}?mode=ro", uri=True)) as ledger:
        rows = ledger.execute("select path, size from instances").fetchall()
    return sum((data / path).is_file() and (data / path).stat().st_size == size for path, size in rows)


def _storescp(*options: str) -> Callable[[Path, int], list[str]]:
    return lambda store, port: ["storescp", *options, "-od", str(store), str(port)]


def _files(store: Path) -> int:
    return sum(1 for _ in store.iterdir())


def _orthanc(store: Path, port: int) -> list[str]:
    settings = {
        "StorageDirectory": str(store), "IndexDirectory": str(store), "RemoteAccessAllowed": False,
        "HttpPort": free_port(), "DicomPort": port, "DicomAet": "ORTHANC", "AuthenticationEnabled": False,
    }  # fmt: skip
    (store / "orthanc.json").write_text(json.dumps(settings))
    return ["Orthanc", str(store / "orthanc.json")]


def _statistics(store: Path) -> int:
    port = json.loads((store / "orthanc.json").read_text())["HttpPort"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/statistics", timeout=30) as answer:
        count: int = json.load(answer)["CountInstances"]
        return count


OURS = Kind("qct-node", "QCTNODE", _node, _rows_with_their_files)
STORESCP = Kind("storescp", "STORESCP", _storescp(), _files)
FORKING = Kind("storescp --fork", "STORESCP", _storescp("--fork"), _files)
ORTHANC = Kind("Orthanc", "ORTHANC", _orthanc, _statistics)
KINDS = (OURS, STORESCP, FORKING, ORTHANC)


def environment(nodelay: bool) -> dict[str, str]:
    """Return the environment of servers and senders; it turns off Nagle's algorithm in DCMTK, also within Orthanc."""
    own = {key: value for key, value in os.environ.items() if key != "TCP_NODELAY" and not key.startswith("QCT_NODE_")}
    return own | ({"TCP_NODELAY": "1"} if nodelay else {})


@contextmanager
def running(kind: Kind, nodelay: bool) -> Iterator[Server]:
    """Start a receiver with an empty store; at the end stop it with SIGTERM and empty its files."""
    store = FOLDER / "store"
    shutil.rmtree(store, ignore_errors=True)
    store.mkdir(parents=True)
    os.sync()  # pending writes of the previous receiver must not slow down this one
    port = free_port()
    with (FOLDER / f"{kind.name}.log").open("wb") as log:
        process = subprocess.Popen(kind.command(store, port), stdout=log, stderr=log, env=environment(nodelay))
    try:
        _answers(kind, port, process)
        settle(process.pid)
        yield Server(kind, process.pid, port, store)
    finally:
        process.terminate()
        code = process.wait(STOP_SECONDS)
        empty(store)
    assert code in (0, -signal.SIGTERM), f"{kind.name} stopped with {code}, see {FOLDER}"


def empty(store: Path) -> None:
    """Free the disk, but leave the files, empty, until the end of the run (`conftest.py`).

    For minutes after a removal ext4 searches all freed inodes at each new file, which would cost the next receiver up
    to half a millisecond per slice.
    """
    for file in store.rglob("*"):
        if file.is_file():
            os.truncate(file, 0)
    EMPTIED.mkdir(exist_ok=True)
    store.rename(EMPTIED / f"{os.getpid()}-{time.monotonic_ns()}")


def _answers(kind: Kind, port: int, process: "subprocess.Popen[bytes]") -> None:
    echo = ["echoscu", "-q", "-aec", kind.ae_title, "127.0.0.1", str(port)]
    end = time.monotonic() + START_SECONDS
    while subprocess.run(echo, capture_output=True, check=False).returncode != 0:
        assert process.poll() is None, f"{kind.name} ended with {process.returncode}, see {FOLDER}"
        assert time.monotonic() < end, f"{kind.name} does not answer, see {FOLDER}"
        time.sleep(0.1)
