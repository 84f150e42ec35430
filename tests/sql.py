"""Read the ledger's file without the product's code, for tests of its content."""

import sqlite3
from contextlib import closing
from pathlib import Path


def ask(data: Path, query: str, values: tuple[object, ...] = ()) -> list[tuple]:
    """Return the rows of a query to the ledger in a data folder, opened read-only."""
    with closing(sqlite3.connect(f"file:{data / 'ledger.sqlite3'}?mode=ro", uri=True, timeout=30)) as connection:
        return connection.execute(query, values).fetchall()
