"""The node's commands, and what they share: reading the settings, opening the ledger, printing JSON."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import click
from sqlalchemy.engine import make_url

from node.errors import NodeError
from node.ledger import Ledger
from node.settings.settings import Settings, load_settings

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")


def settings_of(ctx: click.Context) -> Settings:
    """Return the settings the command line names. Raises SettingsError."""
    return load_settings(ctx.obj["config"])


def absent_ledger(settings: Settings) -> str:
    """Return the path of the ledger file if it does not exist yet, else (or for a database server) an empty string."""
    url = make_url(settings.database_url)
    absent = url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file()
    return url.database or "memory" if absent else ""


@contextmanager
def opened_ledger(settings: Settings) -> Iterator[Ledger]:
    """Open the ledger of a node that has run before; a command that only reads must not create a data folder."""
    absent = absent_ledger(settings)
    if absent:
        raise NodeError(
            f"there is no ledger at {absent}: start the node with `qct-node up`, or give its settings with --config"
        )
    with closing(Ledger.of(settings)) as ledger:
        yield ledger


def print_json(document: Any) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))
