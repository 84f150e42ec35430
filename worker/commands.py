"""The command `worker`."""

import sys

import click

from node.logs import configure_logging
from node.run.processes import die_with_parent
from node.settings.settings import load_settings


@click.command()
@click.option("--queue", type=click.Choice(["segment", "deliver"]), default="segment", show_default=True)
@click.pass_context
def worker(ctx: click.Context, queue: str) -> None:
    """Run a worker on one queue. `segment` needs one worker per GPU; `deliver` sends results. Stops on SIGTERM."""
    die_with_parent()
    configure_logging()
    from worker.app import make_worker_app, run_worker

    sys.exit(run_worker(make_worker_app(load_settings(ctx.obj["config"])), queue))
