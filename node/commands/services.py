"""The commands that run until they are stopped: `up` (the whole node) and its parts `serve`, `supervise` and `web`."""

import logging
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import click

from node.files.data_folder import require_data_folder
from node.ledger import Ledger
from node.logs import configure_logging
from node.records.processes import ProcessKind
from node.run.process_heartbeat import ProcessHeartbeat
from node.run.processes import die_with_parent, reserve_port
from node.settings.settings import Settings, load_settings

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
WEB_STOP_SECONDS = 3
BACKLOG = 128  # asyncio accepts as many at once, before the limits of connections apply


@click.command()
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Data folder.")
@click.option("--dicom-port", type=click.IntRange(0, 65535), help="0 = any free port.")
@click.option("--http-port", type=click.IntRange(0, 65535), help="0 = any free port.")
@click.pass_context
def up(ctx: click.Context, /, **given: Any) -> None:
    """Run the whole node on this machine. Prints one line when all parts are ready; stops on SIGTERM."""
    configure_logging()
    from node.run.up import run_up

    config = ctx.obj["config"]
    section = {key: value for key, value in given.items() if value is not None}
    settings = load_settings(config, **({"node": section} if section else {}))
    require_data_folder(settings.data)
    run_up(Path(config) if config else None, settings)


@click.command()
@click.option("--listener", type=int, hidden=True, help="File descriptor of the listening socket.")
@click.pass_context
def serve(ctx: click.Context, listener: int | None) -> None:
    """Run the receiver. It is the Storage SCP, in several processes on one port."""
    with _part(ctx, ProcessKind.RECEIVERS) as (settings, ledger, stop):
        from node.run.receivers import run_receivers

        handed = None if listener is None else socket.socket(fileno=listener)
        run_receivers(ctx.obj["config"], settings, ledger, stop, handed)


@click.command(hidden=True)
@click.option("--listener", type=int, required=True, help="File descriptor of the listening socket.")
@click.option("--slots", type=int, required=True, help="File descriptor of the table of places.")
@click.pass_context
def receive(ctx: click.Context, listener: int, slots: int) -> None:
    """Run one of the receiving processes that `serve` starts."""
    with _part(ctx, ProcessKind.SCP) as (settings, ledger, stop):
        from node.scp.association_slots import AssociationSlots
        from node.scp.listener import run

        places = AssociationSlots(settings.intake.maximum_associations, slots)
        run(settings, ledger, stop, socket.socket(fileno=listener), places)


@click.command()
@click.pass_context
def supervise(ctx: click.Context) -> None:
    """Run the supervisor. It decides on series, queues jobs and wakes workers."""
    with _part(ctx, ProcessKind.SUPERVISOR) as (settings, ledger, stop):
        from node.dispatch.celery_app import make_app
        from node.dispatch.dispatcher import Dispatcher
        from node.supervise.supervisor import Supervisor

        Supervisor(ledger, settings, Dispatcher(make_app(settings))).run(stop)


@click.command()
@click.pass_context
def web(ctx: click.Context) -> None:
    """Run the web page (read-only)."""
    with _part(ctx, ProcessKind.WEB) as (settings, ledger, stop):
        import uvicorn

        from node.scp.listener import allow_files
        from node.web.app import make_app
        from node.web.limited_protocol import FILES, LimitedProtocol, NoClientFaults

        allow_files(FILES)
        logging.getLogger("uvicorn.error").addFilter(NoClientFaults())
        host = settings.node.http_host
        with reserve_port(host, settings.node.http_port, "web page") as held:
            config = uvicorn.Config(
                make_app(settings, ledger),
                host=host,
                port=held.getsockname()[1],
                log_config=None,
                http=LimitedProtocol,
                ws="none",
                backlog=BACKLOG,
                server_header=False,
                timeout_graceful_shutdown=WEB_STOP_SECONDS,
            )
            server = uvicorn.Server(config)
            # uvicorn handles SIGTERM and SIGINT itself once it runs; one that came earlier must stop it, too.
            for number in STOP_SIGNALS:
                signal.signal(number, lambda *_: setattr(server, "should_exit", True))
            server.should_exit = server.should_exit or stop.is_set()
            server.run(sockets=[held])  # uvicorn's own would be for IPv6 only with `::`


@contextmanager
def _part(ctx: click.Context, kind: ProcessKind) -> Iterator[tuple[Settings, Ledger, threading.Event]]:
    """Set up what every part needs: settings, ledger, heartbeat, and an event set on SIGTERM or SIGINT."""
    die_with_parent()
    configure_logging()
    settings = load_settings(ctx.obj["config"])
    require_data_folder(settings.data)
    stop = threading.Event()
    for number in STOP_SIGNALS:
        signal.signal(number, lambda *_: stop.set())
    with closing(Ledger.of(settings)) as ledger, ProcessHeartbeat(ledger, kind, settings.jobs.heartbeat_seconds):
        yield settings, ledger, stop
