"""The node's commands, and what they share: reading the settings, opening the ledger, printing JSON."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import click

from node.errors import NodeError
from node.ledger import Ledger
from node.settings.settings import Settings, load_settings

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")


def settings_of(ctx: click.Context) -> Settings:
    """Return the settings the command line names. Raises SettingsError."""
    return load_settings(ctx.obj["config"])


@contextmanager
def opened_ledger(settings: Settings) -> Iterator[Ledger]:
    """Open the ledger of a node that has run before; a command that only reads must not create a data folder."""
    absent = Ledger.absent_file(settings)
    if absent is not None:
        raise NodeError(
            f"there is no ledger at {absent}: start the node with `qct-node up`, or give its settings with --config"
        )
    with closing(Ledger.of(settings)) as ledger:
        yield ledger


def print_json(document: Any) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=True))
