"""Insert statements for rows that may be there already."""

from typing import Any

from sqlalchemy import Connection, Select, Table
from sqlalchemy.dialects.sqlite import insert


def insert_if_new(connection: Connection, table: Table, values: dict[str, Any]) -> bool:
    """Insert a row unless its unique key is taken; tell whether it was inserted."""
    return bool(connection.execute(insert(table).on_conflict_do_nothing(), values).rowcount)


def insert_new_from(connection: Connection, table: Table, column: str, rows: Select[str]) -> None:
    """Insert the rows of a query into one column, without those that are there already."""
    connection.execute(insert(table).from_select([column], rows).on_conflict_do_nothing())


def insert_or_update(
    connection: Connection, table: Table, key: dict[str, Any], first: dict[str, Any], values: dict[str, Any]
) -> None:
    """Insert a row of key, `first` and `values`; if its key is taken, set only `values`."""
    statement = insert(table).values(key | first | values)
    connection.execute(statement.on_conflict_do_update(index_elements=list(key), set_=values))
