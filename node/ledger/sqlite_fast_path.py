"""SQLAlchemy's statements on SQLite's own connection, each compiled once.

The way through engine, pool and result takes several times as long. Only for what every arriving object runs through.
"""

from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

from sqlalchemy import Dialect, Engine

Values = Mapping[str, Any]


class Executing(Protocol):
    """What a connection of SQLAlchemy and a straight one have in common."""

    @property
    def dialect(self) -> Dialect:
        """What kind of database it is."""

    def execute(self, statement: Any, values: Any = None, /) -> Any:
        """Run a statement; the result has `first`, `all`, `scalar` and `rowcount`."""


class Straight:
    """One connection, for one transaction at a time. Rows hold what SQLite does: times as text, JSON undecoded."""

    def __init__(self, engine: Engine) -> None:
        self.dialect = engine.dialect
        self._pooled = engine.raw_connection()
        self._connection: Any = self._pooled.driver_connection
        self._prepared: dict[Any, _Prepared] = {}

    @contextmanager
    def begin(self) -> Iterator["Straight"]:
        """Write in one transaction, which an exception undoes. Raises sqlite3.OperationalError."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self
            self._connection.execute("COMMIT")
        except BaseException:
            self._connection.rollback()
            raise

    def execute(self, statement: Any, values: Values | None = None, /) -> "_Result":
        """Run a statement. One that comes with values is kept compiled, and must come with the same names each time."""
        if values is None:
            return _Prepared(statement, self.dialect, None).run(self._connection, {})
        if statement not in self._prepared:
            self._prepared[statement] = _Prepared(statement, self.dialect, list(values))
        return self._prepared[statement].run(self._connection, values)

    def close(self) -> None:
        """Give the connection back."""
        self._pooled.close()


class _Result(NamedTuple):
    rows: Sequence[Any]
    rowcount: int

    def all(self) -> Sequence[Any]:
        return self.rows

    def first(self) -> Any:
        return self.rows[0] if self.rows else None

    def scalar(self) -> Any:
        return self.rows[0][0] if self.rows else None


class _Prepared:
    """A compiled statement: its text, the values it brings along, and of each of its places name and conversion."""

    def __init__(self, statement: Any, dialect: Dialect, names: list[str] | None) -> None:
        compiled = statement.compile(dialect=dialect, column_keys=names)
        defaults = {column.key: column.default.arg for column in getattr(compiled, "insert_prefetch", ())}
        self._own = compiled.params | defaults
        self._text = str(compiled)
        self._places: list[tuple[str, Callable[[Any], Any] | None]] = [
            (name, compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect))
            for name in compiled.positiontup
        ]
        self._row: Any = None

    def run(self, connection: Any, given: Values) -> _Result:
        values = self._own | given
        row = [values[name] if convert is None else convert(values[name]) for name, convert in self._places]
        cursor = connection.execute(self._text, row)
        found = cursor.fetchall()
        if found and self._row is None:
            self._row = _row([column[0] for column in cursor.description])
        return _Result([self._row._make(each) for each in found], cursor.rowcount)


def _row(names: list[str]) -> Any:
    return namedtuple("Row", names, rename=True)
