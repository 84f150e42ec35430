"""The ledger's database: engine, pragmas, migrations, transactions, and the one function that changes a job's state."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, Engine, create_engine, event, insert, inspect, select, text, update
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DatabaseError, SQLAlchemyError

from node.errors import LedgerError, NotAllowedError, StoreStatus, UnknownJobError
from node.ledger.file_locks import WriteLock, lock_file
from node.ledger.ledger_file import LedgerFile
from node.ledger.tables import HEAD, events, jobs
from node.records.states import JobState, may_become

Clock = Callable[[], datetime]

BUSY_SECONDS = 30


def utc_now() -> datetime:
    """Return the present time, aware, UTC."""
    return datetime.now(UTC)


class Database:
    """The open database. Files are named by keys relative to `data`, so that the folder may be moved."""

    def __init__(self, engine: Engine, data: Path, clock: Clock) -> None:
        self.engine = engine
        self._unsynced = _engine(engine.url, synchronous="NORMAL")
        self._unsynced_connection: Connection | None = None
        self._reading = engine.execution_options(ledger_reads=True)
        self._write_lock = WriteLock(engine.url.database, BUSY_SECONDS)
        self._file = LedgerFile(engine.url.database)
        self.data = data
        self.now = clock

    @classmethod
    def open(cls, url: str, data: Path, clock: Clock = utc_now) -> Self:
        """Open the ledger at an SQLAlchemy URL and bring it up to date; several processes may do so at once.

        Raises LedgerError when the database cannot be reached or was written by a newer version.
        """
        try:
            engine = _engine(url)
            with _migration_lock(engine):
                _migrate(engine)
        except (SQLAlchemyError, OSError, ImportError) as error:
            cause = getattr(error, "orig", None) or error
            shown = make_url(url).render_as_string(hide_password=True) if "://" in url else "its database_url"
            raise LedgerError(f"the ledger {shown} cannot be opened: {cause}", retry=True) from error
        return cls(engine, data, clock)

    def close(self) -> None:
        """Close all connections."""
        if self._unsynced_connection is not None:
            self._unsynced_connection.close()
        self.engine.dispose()
        self._unsynced.dispose()
        self._write_lock.close()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Write in one transaction. Raises LedgerError."""
        with self._answering(), self._write_lock, self.engine.begin() as connection:
            yield connection

    @contextmanager
    def write_unsynced(self) -> Iterator[Connection]:
        """Write without a sync of the database file, for rows that can be restored from the files in the inbox.

        A killed process loses nothing by that. After a power cut the last of these rows may be gone, and the next start
        takes them from the files, which were synced before (`node.files.reconcile`).
        """
        with self._answering(), self._write_lock, self._open_unsynced().begin():
            yield self._open_unsynced()

    def _open_unsynced(self) -> Connection:
        """Return the connection for such writes, kept open: taking one from the pool costs three statements."""
        if self._unsynced_connection is None:
            self._unsynced_connection = self._unsynced.connect()
        return self._unsynced_connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Read in one transaction. Raises LedgerError."""
        with self._answering(), self._reading.connect() as connection:
            yield connection

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Turn the errors of an unreachable, locked, full or damaged database into a LedgerError."""
        self._file.require()
        try:
            yield
        except (DatabaseError, sqlite3.DatabaseError) as error:
            cause = error.orig if isinstance(error, DatabaseError) else error
            if isinstance(cause, sqlite3.IntegrityError | sqlite3.ProgrammingError | sqlite3.InterfaceError):
                raise  # an error of the program
            raise LedgerError(
                f"the ledger does not answer: {cause}", retry=True, status=StoreStatus.OUT_OF_RESOURCES
            ) from error

    def move(
        self, connection: Connection, job_id: str, target: JobState, sentence: str | None = None, **values: Any
    ) -> JobState:
        """Change the state of a job, set `values`, and add a line to its history; return its former state.

        sentence: for the history of the job; without it, the reason among `values`.

        Raises UnknownJobError, NotAllowedError.
        """
        # BEGIN IMMEDIATE has locked the database, so that no other process changes the row in between.
        found = connection.execute(select(jobs.c.state).where(jobs.c.id == job_id).with_for_update()).scalar()
        if found is None:
            raise UnknownJobError(job_id)
        state = JobState(found)
        if not may_become(state, target):
            raise NotAllowedError(f"job {job_id} is {state}; it cannot become {target}")
        values = {"state": target} | values
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(values))
        self.note(connection, job_id, target, str(values.get("reason", "")) if sentence is None else sentence)
        return state

    def note(self, connection: Connection, job_id: str, state: str, sentence: str) -> None:
        """Add a line to the history of a job."""
        connection.execute(insert(events).values(job_id=job_id, at=self.now(), state=state, text=sentence))


def _engine(url: str | URL, synchronous: str = "FULL") -> Engine:
    parsed = make_url(url)
    if parsed.database and parsed.database != ":memory:":
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(parsed, connect_args={"timeout": BUSY_SECONDS}, pool_size=10, max_overflow=200)
    event.listen(engine, "connect", partial(_prepare_sqlite, synchronous))
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(synchronous: str, connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver must not begin transactions by itself; _begin_sqlite does
    for pragma in (f"synchronous={synchronous}", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # IMMEDIATE: a transaction that reads and then writes would otherwise fail when another writes in between.
    reads = connection.get_execution_options().get("ledger_reads")
    driver: Any = connection.connection.driver_connection
    driver.execute("BEGIN" if reads else "BEGIN IMMEDIATE")


@contextmanager
def _migration_lock(engine: Engine) -> Iterator[None]:
    """Let one process at a time migrate; the kernel releases the lock when its holder dies."""
    database = engine.url.database
    assert database, "the ledger is a file, never in memory"
    with Path(f"{database}.lock").open("w") as lock:
        lock_file(lock.fileno(), BUSY_SECONDS)
        yield


def _migrate(engine: Engine) -> None:
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.execute("PRAGMA journal_mode=WAL")
    if _revision(engine) == HEAD:
        return
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", "node.ledger:migrations")
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except CommandError as error:
        raise LedgerError(
            f"the ledger has the layout {_revision(engine)}, which this version ({HEAD}) does not know: "
            "it was written by a newer qct-node"
        ) from error


def _revision(engine: Engine) -> str | None:
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
