"""What the ledger's file says, read beside the product: tests of what is written look here."""

import sqlite3
from contextlib import closing
from pathlib import Path


def ask(data: Path, query: str, values: tuple[object, ...] = ()) -> list[tuple]:
    """Return the rows of a query to the ledger in a data folder; nothing can be changed."""
    with closing(sqlite3.connect(f"file:{data / 'ledger.sqlite3'}?mode=ro", uri=True, timeout=30)) as connection:
        return connection.execute(query, values).fetchall()
