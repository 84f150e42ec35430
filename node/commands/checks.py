"""The checks of `qct-node check`: each looks at one thing and says what is wrong with it and what to do."""

import importlib.util
import shutil
import subprocess
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from node.errors import NodeError
from node.files.data_folder import data_folder_fault
from node.files.disk_space import DiskSpaceStatus, Level, assess_disk_space, free_space
from node.ledger import Ledger
from node.records.processes import ProcessKind, allowed_silence
from node.run.health import LEAST_SECONDS
from node.run.processes import reserve_port
from node.settings.routing import Peer
from node.settings.settings import Settings


@dataclass(frozen=True)
class Finding:
    """The result of one check. warning: it passed, but a person should act before it fails."""

    name: str
    ok: bool
    detail: str
    warning: bool = False

    @property
    def word(self) -> str:
        """The first word of its line, five characters wide."""
        return "ERROR" if not self.ok else "warn " if self.warning else "ok   "


def findings(settings: Settings) -> Iterator[Finding]:
    """Yield the findings about everything but the settings file itself."""
    fault = data_folder_fault(settings.data)
    yield Finding("data folder", not fault, fault or f"{settings.data} can be written")
    ledger = _try("ledger", lambda: _ledger(settings))
    yield ledger
    yield from _ports(settings, _running(settings) if ledger.ok else set())
    yield _broker(settings)
    yield from _ae_titles(settings)
    for peer in settings.peers:
        yield _try(f"peer {peer.name}", partial(_echo, peer, settings.node.ae_title))
    yield from _models(settings)
    if settings.segmenter.calibration:
        yield _calibration(Path(settings.segmenter.calibration))
    yield disk_finding(assess_disk_space(free_space(settings.data), settings.intake), settings)
    yield _gpu()


def disk_finding(found: DiskSpaceStatus, settings: Settings) -> Finding:
    """Return the finding about the disk of the data folder."""
    return Finding("disk", not found.full, f"{found.sentence} (for {settings.data})", found.level is Level.WARNING)


def _try(name: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(name, ok=True, detail=look())
    except NodeError as error:
        return Finding(name, ok=False, detail=str(error))


def _ledger(settings: Settings) -> str:
    if Ledger.absent_file(settings) is not None:
        return "does not exist yet; the node creates it when it starts"
    Ledger.of(settings).close()
    return "can be opened"


def _running(settings: Settings) -> set[str]:
    """Return the kinds of processes of the node that report."""
    if Ledger.absent_file(settings) is not None:
        return set()
    ledger = Ledger.of(settings)
    try:
        allowed = allowed_silence(settings.jobs.heartbeat_seconds, LEAST_SECONDS)
        return {one.kind for one in ledger.processes.all() if one.is_alive(ledger.now(), allowed)}
    finally:
        ledger.close()


def _ports(settings: Settings, running: set[str]) -> Iterator[Finding]:
    node = settings.node
    places = (
        ("DICOM port", node.dicom_host, node.dicom_port, ProcessKind.SCP),
        ("web port", node.http_host, node.http_port, ProcessKind.WEB),
    )
    for name, host, port, kind in places:
        if kind in running:
            yield Finding(name, ok=True, detail=f"{host}:{port} is in use by the running node")
        else:
            yield _try(name, partial(_free, host, port, name))
    if node.dicom_port == node.http_port != 0:
        yield Finding("ports", ok=False, detail=f"dicom_port and http_port are both {node.dicom_port}")


def _free(host: str, port: int, name: str) -> str:
    reserve_port(host, port, name).close()
    return f"{host}:{port} is free" if port else f"any free port of {host}"


def _broker(settings: Settings) -> Finding:
    from node.dispatch.broker_health import broker_fault
    from node.dispatch.celery_app import EMBEDDED

    fault = broker_fault(settings)
    embedded = settings.node.broker_url == EMBEDDED
    return Finding("broker", not fault, fault or ("files under the data folder" if embedded else "takes messages"))


def _ae_titles(settings: Settings) -> Iterator[Finding]:
    """Check that AE titles tell the peers apart from each other and from the node."""
    by_title: dict[str, list[Peer]] = defaultdict(list)
    for peer in settings.peers:
        by_title[peer.ae_title].append(peer)
    for title, peers in by_title.items():
        names = ", ".join(peer.name for peer in peers)
        if title == settings.node.ae_title:
            yield Finding(
                "AE titles", ok=False, detail=f"{names} has the node's own AE title {title}; each needs its own"
            )
        elif len({peer.host for peer in peers}) < len(peers):
            detail = f"{names} have the same AE title {title} at the same address, so they cannot be told apart"
            yield Finding("AE titles", ok=False, detail=detail)
        elif len(peers) > 1:
            detail = f"{names} have the same AE title {title}; only their addresses tell them apart"
            yield Finding("AE titles", ok=True, detail=detail, warning=True)


def _echo(peer: Peer, calling_ae: str) -> str:
    from node.scu.requestor import echo

    echo(peer, calling_ae)
    return "answers C-ECHO"


def _models(settings: Settings) -> Iterator[Finding]:
    """Check the weights of the segmenter and of every route with a model of its own."""
    # The node must not import the segmenter; it only looks up where the package is installed.
    spec = importlib.util.find_spec("segmenter")
    places = (spec.submodule_search_locations if spec else None) or [""]
    folder = Path(settings.segmenter.model) if settings.segmenter.model else Path(next(iter(places)), "data", "model")
    yield _model("model", folder)
    for route in settings.routes:
        if route.model:
            yield _model(f"model of route {route.name}", Path(route.model))


def _model(name: str, folder: Path) -> Finding:
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        return Finding(name, ok=False, detail=f"there are no weights (*.safetensors) in {folder}")
    return Finding(name, ok=True, detail=f"{len(weights)} weight file{'s' * (len(weights) != 1)} in {folder}")


def _calibration(file: Path) -> Finding:
    """Check that the file exists and is TOML; the segmenter checks its content when a worker starts."""
    try:
        tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return Finding("calibration", ok=False, detail=f"{file} cannot be read: {error}")
    return Finding("calibration", ok=True, detail=str(file))


def _gpu() -> Finding:
    program = shutil.which("nvidia-smi")
    if program is None:
        return Finding("gpu", ok=True, detail="no GPU found; the CPU is used")
    found = subprocess.run([program, "-L"], capture_output=True, text=True, check=False, timeout=30)
    if found.returncode != 0 or not found.stdout.strip():
        return Finding("gpu", ok=False, detail="nvidia-smi is installed but finds no GPU: check the driver")
    return Finding("gpu", ok=True, detail=found.stdout.splitlines()[0].split(" (UUID")[0])
