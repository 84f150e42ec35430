"""The commands `status` (the state of the running node) and `check` (the state of its configuration)."""

import importlib.util
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import click

from node.commands import as_json, opened_ledger, print_json, settings_of
from node.errors import NodeError
from node.files.disk_space import DiskSpaceStatus, Level, assess_disk_space, free_space
from node.ledger import Ledger
from node.run.health import assess
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


@click.command()
@as_json
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Show the state of the node: processes, jobs, disk. Exit 1 if a process or the disk fails."""
    settings = settings_of(ctx)
    with opened_ledger(settings) as ledger:
        disk = assess_disk_space(free_space(settings.data), settings.intake)
        health = assess(ledger.processes.all(), ledger.now(), settings.jobs.heartbeat_seconds, disk)
        counts = ledger.queries.counts()
    if as_json:
        jobs = {state.value: count for state, count in counts.items()}
        print_json(health.to_dict() | {"jobs": jobs, "disk": asdict(_disk(disk, settings))})
    else:
        for process, age, _ in health.processes:
            click.echo(f"{process.kind:<16} {process.host} process {process.pid}, last report {age:.0f} s ago")
        click.echo("jobs: " + (", ".join(f"{n} {state}" for state, n in counts.items() if n) or "none"))
        click.echo(f"disk: {'WARNING: ' * (disk.level is Level.WARNING)}{disk.sentence}")
    if health.stale:
        raise NodeError("; ".join(health.stale))


@click.command()
@as_json
@click.pass_context
def check(ctx: click.Context, as_json: bool) -> None:
    """Check settings, ledger, peers, model, disk. Asks each peer by C-ECHO. Exit 1 if a check fails."""
    findings = []
    for finding in _findings(ctx):
        findings.append(finding)
        if not as_json:
            click.echo(f"{finding.word} {finding.name}: {finding.detail}")
    failed = [finding.name for finding in findings if not finding.ok]
    if as_json:
        print_json({"ok": not failed, "checks": [asdict(finding) for finding in findings]})
    if failed:
        raise NodeError(f"failed checks: {', '.join(failed)}")


def _findings(ctx: click.Context) -> Iterator[Finding]:
    try:
        settings = settings_of(ctx)
    except NodeError as error:
        yield Finding("settings", ok=False, detail=str(error))
        return
    yield Finding("settings", ok=True, detail=f"AE title {settings.node.ae_title}, {len(settings.peers)} peers")
    yield _try("ledger", lambda: _ledger(settings))
    for peer in settings.peers:
        yield _try(f"peer {peer.name}", partial(_echo, peer, settings.node.ae_title))
    yield from _models(settings)
    if settings.segmenter.calibration:
        yield _calibration(Path(settings.segmenter.calibration))
    yield _disk(assess_disk_space(free_space(settings.data), settings.intake), settings)
    yield _gpu()


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


def _disk(found: DiskSpaceStatus, settings: Settings) -> Finding:
    return Finding("disk", not found.full, f"{found.sentence} (for {settings.data})", found.level is Level.WARNING)


def _gpu() -> Finding:
    program = shutil.which("nvidia-smi")
    if program is None:
        return Finding("gpu", ok=True, detail="no GPU found; the CPU is used")
    found = subprocess.run([program, "-L"], capture_output=True, text=True, check=False, timeout=30)
    if found.returncode != 0 or not found.stdout.strip():
        return Finding("gpu", ok=False, detail="nvidia-smi is installed but finds no GPU: check the driver")
    return Finding("gpu", ok=True, detail=found.stdout.splitlines()[0].split(" (UUID")[0])
