"""`qct-node up`: all parts of one node on one machine, from the ready line to a clean stop."""

import logging
import os
import shutil
import signal
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from logging.handlers import RotatingFileHandler
from pathlib import Path

from node.errors import NodeError, PeerError
from node.ledger import Ledger
from node.logs import stderr_stream
from node.records.processes import NEEDED_KINDS
from node.run.processes import DataLock, Part, ProcessGroup, reserve_port
from node.scp.listener import BACKLOG
from node.scu.requestor import echo
from node.settings.routing import Peer
from node.settings.settings import Settings

COMMAND = (sys.executable, "-P", "-m", "node")  # -P: do not import a folder `node` in the current directory
RECEIVER = "serve"
PARTS = (
    Part(RECEIVER, (*COMMAND, "serve")),
    Part("supervise", (*COMMAND, "supervise")),
    Part("segment", (*COMMAND, "worker", "--queue", "segment")),
    Part("deliver", (*COMMAND, "worker", "--queue", "deliver")),
    Part("web", (*COMMAND, "web")),
)
GIVE_UP_AFTER = 3  # times one part may end soon after its start before the node is ready
STOP_SECONDS = 30.0
WATCH_SECONDS = 0.2
TEMPORARY = "tmp"
"""The folder under `data` for the temporary files of libraries: they may hold patient data."""
LOG_BYTES, LOG_FILES = 10_000_000, 5
LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
"""How a node that listens on all interfaces reaches itself."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Address:
    """Where the node listens; port 0 is already replaced by a free one. listener: the listening socket for DICOM."""

    dicom_host: str
    dicom_port: int
    http_host: str
    http_port: int
    listener: int

    @property
    def dicom(self) -> str:
        """Host and port for DICOM."""
        return f"{_in_brackets(self.dicom_host)}:{self.dicom_port}"

    @property
    def web(self) -> str:
        """The web page's URL."""
        return f"http://{_in_brackets(self.http_host)}:{self.http_port}"


def _in_brackets(host: str) -> str:
    """Return a host as it stands before a port: an IPv6 address in brackets (RFC 3986 3.2.2)."""
    return f"[{host}]" if ":" in host else host


def run_up(config: Path | None, settings: Settings, parts: Sequence[Part] = PARTS) -> None:
    """Run the node until SIGTERM or SIGINT. Raises NodeError when it cannot start."""
    with (
        DataLock(settings.data),
        _stop_signals() as stop,
        _reserved(settings) as address,
        closing(Ledger.of(settings)) as ledger,
    ):
        parts = [_with_listener(part, address.listener) if part.name == RECEIVER else part for part in parts]
        temporary = _empty_folder(settings.data / TEMPORARY)
        group = ProcessGroup(parts, _environment(config, settings, address, temporary), _LogLines(settings.data))
        try:
            _run(group, _Readiness(settings, address, ledger), stop)
        finally:
            log.info("stopping")
            group.stop(STOP_SECONDS)


def _with_listener(part: Part, descriptor: int) -> Part:
    """Return the receiver's part so that it gets the listening socket: connections wait in it while it restarts."""
    return replace(part, command=(*part.command, "--listener", str(descriptor)), inherited=(descriptor,))


def _run(group: ProcessGroup, readiness: "_Readiness", stop: threading.Event) -> None:
    ready = False
    while not stop.wait(WATCH_SECONDS):
        group.watch()
        if ready:
            continue
        if readiness.reached():
            ready = True
            sys.stdout.write(f"{readiness.line}\n")
            sys.stdout.flush()
        elif (name := group.failing(GIVE_UP_AFTER)) is not None:
            raise NodeError(f"the part `{name}` ended {GIVE_UP_AFTER} times while starting; its log is above")


class _Readiness:
    """Whether everything answers: C-ECHO, /healthz, and a recent heartbeat of every part in the ledger."""

    def __init__(self, settings: Settings, address: Address, ledger: Ledger) -> None:
        self._address = address
        self._ledger = ledger
        self._since = ledger.now()
        self._title = settings.node.ae_title
        host = LOOPBACK.get(address.dicom_host, address.dicom_host)
        self._self = Peer(name="self", ae_title=self._title, host=host, port=address.dicom_port)
        web_host = _in_brackets(LOOPBACK.get(address.http_host, address.http_host))
        # A proxy of `http_proxy` cannot reach our loopback.
        self._direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self._healthz = f"http://{web_host}:{address.http_port}/healthz"
        self.line = f"ready: dicom {address.dicom} aet {self._title}, web {address.web}"

    def reached(self) -> bool:
        now = self._ledger.now()
        reported = {p.kind for p in self._ledger.processes.all() if p.is_alive(now, now - self._since)}
        return reported >= set(NEEDED_KINDS) and self._web_answers() and self._scp_answers()

    def _web_answers(self) -> bool:
        try:
            with self._direct.open(self._healthz, timeout=2) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError as error:
            return (
                error.code == HTTPStatus.SERVICE_UNAVAILABLE
            )  # it answers, and has something to say, such as a full disk
        except OSError:
            return False

    def _scp_answers(self) -> bool:
        try:
            # A loaded machine needs seconds for the first association; one given up would be recorded as empty.
            echo(self._self, self._title)
        except PeerError as error:
            return not error.retry  # refused by name, as accept_unknown_peers = false does, is an answer
        return True


def _empty_folder(folder: Path) -> Path:
    """Return a folder without content: what parts that were killed have left there is removed."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _environment(config: Path | None, settings: Settings, address: Address, temporary: Path) -> Mapping[str, str]:
    """Return the environment of every part: the same program and the same settings as ours."""
    package = Path(__file__).parents[2]
    given = {"QCT_NODE_CONFIG": str(config.absolute())} if config else {}
    return {
        **os.environ,
        **given,
        "PYTHONPATH": os.pathsep.join(filter(None, (str(package), os.environ.get("PYTHONPATH")))),
        "TMPDIR": str(temporary),
        "QCT_NODE_NODE__DATA": str(settings.data),
        "QCT_NODE_NODE__DICOM_PORT": str(address.dicom_port),
        "QCT_NODE_NODE__HTTP_PORT": str(address.http_port),
    }


@contextmanager
def _reserved(settings: Settings) -> Iterator[Address]:
    """Keep both ports for our parts while the block runs; raises NodeError when one is in use."""
    node = settings.node
    if node.dicom_port == node.http_port != 0:
        raise NodeError(f"dicom_port and http_port are both {node.dicom_port}; each needs a port of its own.")
    with (
        reserve_port(node.dicom_host, node.dicom_port, "DICOM", BACKLOG) as dicom,
        reserve_port(node.http_host, node.http_port, "web page") as http,
    ):
        dicom_port, http_port = (held.getsockname()[1] for held in (dicom, http))
        yield Address(node.dicom_host, dicom_port, node.http_host, http_port, dicom.fileno())


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM and SIGINT set while the block runs."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _LogLines:
    """Writes the lines of the parts to stderr and to `logs/node.log` under the data folder."""

    def __init__(self, data: Path) -> None:
        folder = data / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        file = RotatingFileHandler(folder / "node.log", maxBytes=LOG_BYTES, backupCount=LOG_FILES - 1)
        self._log = logging.Logger("parts")  # not the root logger: the lines have a time and a level already
        for handler in (file, logging.StreamHandler(stderr_stream())):
            handler.setFormatter(logging.Formatter("%(message)s"))
            self._log.addHandler(handler)
        logging.getLogger().addHandler(file)

    def __call__(self, part: str, line: str) -> None:
        self._log.info("%-9s %s", part, line)
