"""The DICOM tools: `send` a folder, `echo` a peer."""

import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click
from pydantic import ValidationError

from node.commands import settings_of
from node.errors import NodeError
from node.scu.requestor import echo as verify
from node.scu.storage import OnEach, SendOutcome, send_files
from node.settings.routing import Peer
from node.settings.settings import Settings

PREAMBLE = 128


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, path_type=Path))
@click.option("--to", "address", required=True, metavar="HOST:PORT", help="Address of the peer.")
@click.option("--aet", required=True, metavar="AE", help="Called AE title.")
@click.option("--from", "calling", metavar="AE", help="Calling AE title; default: the node's own.")
@click.pass_context
def send(ctx: click.Context, folder: Path, address: str, aet: str, calling: str | None) -> None:
    """Send DICOM files to a peer. Sends every file under DIR (or one file) by C-STORE in its own transfer syntax."""
    settings = settings_of(ctx)
    peer = _peer(address, aet)
    files = [path for path in sorted(folder.rglob("*")) if is_dicom(path)] if folder.is_dir() else [folder]
    if not files:
        raise NodeError(f"there is no DICOM file in {folder}")
    with _progress(len(files)) as on_each:
        outcomes = send_files(peer, files, calling or settings.node.ae_title, on_each)
    failed = Counter(outcome.reason for outcome in outcomes if not outcome.ok)
    click.echo(f"{len(outcomes) - failed.total()} of {len(outcomes)} files stored at {peer.ae_title}")
    if failed:
        raise NodeError("\n".join(f"{count} not stored: {reason}" for reason, count in failed.items()))


@click.command("echo")
@click.argument("peer", metavar="PEER")
@click.option("--aet", metavar="AE", help="Called AE title if PEER is HOST:PORT.")
@click.pass_context
def echo(ctx: click.Context, peer: str, aet: str | None) -> None:
    """Verify that a peer answers C-ECHO. PEER is a name in the settings, or HOST:PORT with --aet."""
    settings = settings_of(ctx)
    target = _peer(peer, aet) if aet else _named(settings, peer)
    started = time.monotonic()
    verify(target, settings.node.ae_title)
    spent = (time.monotonic() - started) * 1000
    click.echo(f"{target.ae_title} at {target.host}:{target.port} answers ({spent:.0f} ms)")


def is_dicom(path: Path) -> bool:
    """Tell whether a file has the DICOM prefix (PS3.10 7.1) and is not a DICOMDIR."""
    if not path.is_file() or path.name.upper() == "DICOMDIR":
        return False
    with path.open("rb") as file:
        return file.read(PREAMBLE + 4)[PREAMBLE:] == b"DICM"


def _peer(address: str, aet: str) -> Peer:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise click.UsageError(f"{address!r} is not HOST:PORT")
    try:
        return Peer.model_validate({"name": "target", "ae_title": aet, "host": host.strip("[]"), "port": port})
    except ValidationError as error:
        raise click.UsageError(f"{address!r} with AE title {aet!r}: {error.errors()[0]['msg']}") from error


def _named(settings: Settings, name: str) -> Peer:
    found = settings.peer(name)
    if found is None:
        known = ", ".join(settings.peer_names) or "none"
        raise NodeError(f"the settings have no peer {name} (peers: {known}); to address HOST:PORT, add --aet")
    return found


@contextlib.contextmanager
def _progress(total: int) -> Iterator[OnEach]:
    """Show the progress on stderr: a bar on a terminal, else one line per tenth of the files."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if console.is_terminal:
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task("sending", total=total)
            yield lambda _sent: progress.advance(task)
        return
    done = 0

    def plain(_sent: SendOutcome) -> None:
        nonlocal done
        done += 1
        if done == total or done % max(total // 10, 1) == 0:
            click.echo(f"{done} of {total}", err=True)

    yield plain
