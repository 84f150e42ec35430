"""The node of the crash suite, restarted on the same ports and data, and its processes."""

import sys
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from conftest import NodeProcess, poll_until
from e2e.crash.study_plan import Timing
from ports import free_port

from node.errors import PeerError
from node.scu.requestor import echo
from node.settings.routing import Peer

SETTINGS = """\
[node]
data = "data"
dicom_port = {dicom_port}
http_port = {http_port}
[intake]
quiet_seconds = {quiet}
give_up_seconds = {give_up}
accept_unknown_peers = true
[[peers]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = {pacs_port}
[jobs]
max_attempts = 50  # repeated kills must not look like a series that crashes the worker
lease_seconds = 3
heartbeat_seconds = 0.5
redispatch_seconds = 1
[delivery]
backoff_seconds = [0.5]
lease_seconds = 3
timeout_seconds = 10
"""
STUB_UP = str(Path(__file__).with_name("stub_up.py"))


class Target(StrEnum):
    """What can be killed."""

    RECEIVER = "receiver"
    SERVE = "serve"
    SUPERVISOR = "supervise"
    SEGMENT = "segment worker"
    CHILD = "segment worker's child"
    DELIVER = "deliver worker"
    WEB = "web"
    NODE = "whole node"


PARTS = {
    Target.SERVE: "serve",
    Target.SUPERVISOR: "supervise",
    Target.SEGMENT: "segment",
    Target.DELIVER: "deliver",
    Target.WEB: "web",
}
CHILDREN = {Target.RECEIVER: "serve", Target.CHILD: "segment"}


@dataclass(frozen=True)
class Running:
    """One process: its parent and its command line."""

    parent: int
    command: tuple[str, ...]


def processes_of(target: Target, root: int, processes: Mapping[int, Running]) -> list[int]:
    """Return the processes of the node `root` that are of this kind; one of them is killed."""
    parts = {pid: p.command for pid, p in processes.items() if p.parent == root}
    if target is Target.NODE:
        return [root]
    if target in PARTS:
        return [pid for pid, command in parts.items() if PARTS[target] in command]
    parents = [pid for pid, command in parts.items() if CHILDREN[target] in command]
    children = [
        pid
        for pid, p in processes.items()
        if p.parent in parents and not any("resource_tracker" in word or "semaphore" in word for word in p.command)
    ]
    return children or (parents if target is Target.RECEIVER else [])


def running_processes() -> dict[int, Running]:
    """Return all running processes of this machine."""
    found = {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            command = (entry / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
            if state not in "ZX":
                found[int(entry.name)] = Running(int(parent), tuple(command))
    return found


class RestartedNode:
    """A node that is started, killed and restarted in one folder."""

    def __init__(self, folder: Path, pacs_port: int, timing: Timing, *, real: bool) -> None:
        self.folder = folder
        self.data = folder / "data"
        self._file = folder / "qct-node.toml"
        self.dicom_port, self._http_port = free_port(), free_port()
        self._file.write_text(
            SETTINGS.format(
                dicom_port=self.dicom_port,
                http_port=self._http_port,
                pacs_port=pacs_port,
                quiet=timing.quiet,
                give_up=timing.give_up,
            )
        )
        self._command = ("-m", "node", "--config", str(self._file), "up") if real else (STUB_UP, str(self._file))
        self.starts = 0
        self._process: NodeProcess | None = None

    @property
    def pid(self) -> int:
        """The process id of `up`."""
        assert self._process is not None
        return self._process.process.pid

    def start(self) -> None:
        """Start the node and wait until it is ready."""
        self.starts += 1
        self._process = NodeProcess([sys.executable, *self._command], self.folder, f"node{self.starts:03d}")
        self._process.ready(120)

    def kill(self) -> None:
        """Kill `up` and wait until the kernel has killed its parts."""
        assert self._process is not None
        descendants = self._process.descendants()
        self._process.process.kill()
        self._process.process.wait()
        poll_until(lambda: not NodeProcess.running(descendants), what="the end of all parts")

    def stop(self) -> int:
        """Stop the node with SIGTERM; return its exit code."""
        assert self._process is not None
        return self._process.stop()[0]

    def complaints(self) -> list[str]:
        """Return what does not answer: C-ECHO or /healthz."""
        found = []
        try:
            echo(Peer(name="node", ae_title="QCTNODE", host="127.0.0.1", port=self.dicom_port), "CRASH")
        except PeerError as error:
            found.append(f"C-ECHO: {error}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._http_port}/healthz", timeout=10) as answer:
                answer.read()
        except OSError as error:
            found.append(f"/healthz: {error}")
        return found

    def __enter__(self) -> "RestartedNode":
        return self

    def __exit__(self, *_error: object) -> None:
        if self._process is not None and self._process.process.poll() is None:
            self._process.process.kill()
            self._process.process.wait()
