"""The node's running processes, as they report themselves."""

from sqlalchemy import delete, select

from node.ledger.database import Database
from node.ledger.tables import processes
from node.ledger.upsert import insert_or_update
from node.records.processes import Process


class ProcessHeartbeats:
    """Records when each process of the node was last seen."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def report(self, name: str, kind: str, host: str, pid: int) -> None:
        """Record that a process is alive. name: unique. Another one of its kind, host and process id has ended."""
        now = self._db.now()
        with self._db.write() as connection:
            own = (processes.c.kind == kind) & (processes.c.host == host) & (processes.c.pid == pid)
            connection.execute(delete(processes).where(own, processes.c.name != name))
            values = {"kind": kind, "host": host, "pid": pid, "last_seen": now}
            insert_or_update(connection, processes, {"name": name}, {"started_at": now}, values)

    def remove(self, name: str) -> None:
        """Remove a process that has stopped."""
        with self._db.write() as connection:
            connection.execute(delete(processes).where(processes.c.name == name))

    def all(self) -> list[Process]:
        """Return the processes that have reported themselves, by name."""
        with self._db.read() as connection:
            rows = connection.execute(select(processes).order_by(processes.c.name)).all()
        return [Process(**row._asdict()) for row in rows]
