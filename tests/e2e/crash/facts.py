"""What is there when all is over: the rows of the ledger, the files, what the PACS got. Read without the product."""

import sqlite3
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from e2e.crash.pacs import Stored
from e2e.crash.senders import Trace
from e2e.crash.studies import Study, digest_of_file

FINISHED = ("delivered", "committed", "declined", "held", "failed", "cancelled")
DELIVERED = ("delivered", "committed")
OPEN_DELIVERIES = ("waiting", "sending")


@dataclass(frozen=True)
class Row:
    """One object in the ledger; on_disk: the SHA-256 of what lies under its path, empty when nothing does."""

    series_uid: str
    revision: int
    sop_uid: str
    variant: int
    sha256: str
    on_disk: str


@dataclass(frozen=True)
class JobRow:
    """One revision of a series; results: SOP Instance UIDs of what was made."""

    id: str
    series_uid: str
    revision: int
    state: str
    code: str = ""
    reason: str = ""
    instances: int = 0
    attempts: int = 0
    results: tuple[str, ...] = ()
    open_deliveries: int = 0


@dataclass(frozen=True)
class Facts:
    """Everything the verdict looks at. results_by_uid: whether UIDs of results tell their slices (the stand-in's)."""

    studies: list[Study]
    traces: dict[int, Trace]
    rows: list[Row]
    jobs: list[JobRow]
    refusals: dict[str, int]
    stored: list[Stored]
    leftovers: tuple[str, ...] = ()
    complaints: tuple[str, ...] = ()
    results_by_uid: bool = True


class LedgerReader:
    """Looks into the ledger's file, beside the running node."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._uri = f"file:{data / 'ledger.sqlite3'}?mode=ro"

    def unfinished(self) -> int:
        """Return how many jobs and deliveries are still on their way."""
        marks = ", ".join("?" * len(FINISHED))
        [[jobs]] = self._ask(f"SELECT count(*) FROM jobs WHERE state NOT IN ({marks})", FINISHED)
        [[open_ones]] = self._ask("SELECT count(*) FROM deliveries WHERE state IN (?, ?)", OPEN_DELIVERIES)
        return int(jobs) + int(open_ones)

    def rows(self) -> list[Row]:
        """Return all objects, with what is on disk."""
        found = self._ask(
            "SELECT s.series_uid, i.revision, i.sop_uid, i.variant, i.sha256, i.path FROM instances i"
            " JOIN series s ON s.id = i.series_id ORDER BY i.id"
        )
        return [Row(*row[:5], on_disk=self._on_disk(row[5])) for row in found]

    def jobs(self) -> list[JobRow]:
        """Return all jobs that belong to a series, in the order of their revisions."""
        results: dict[str, list[str]] = defaultdict(list)
        for job_id, sop_uid in self._ask("SELECT job_id, sop_uid FROM results WHERE sop_uid <> '' ORDER BY id"):
            results[job_id].append(sop_uid)
        waiting = dict(
            self._ask("SELECT job_id, count(*) FROM deliveries WHERE state IN (?, ?) GROUP BY job_id", OPEN_DELIVERIES)
        )
        found = self._ask(
            "SELECT j.id, s.series_uid, j.revision, j.state, j.code, j.reason, j.instances, j.attempts FROM jobs j"
            " JOIN series s ON s.id = j.series_id ORDER BY s.id, j.revision"
        )
        return [JobRow(*row, results=tuple(results[row[0]]), open_deliveries=waiting.get(row[0], 0)) for row in found]

    def refusals(self) -> dict[str, int]:
        """Return how often the node refused something that belongs to no series, by reason code."""
        return dict(self._ask("SELECT code, sum(instances) FROM jobs WHERE series_id IS NULL GROUP BY code"))

    def leftovers(self) -> tuple[str, ...]:
        """Return files and folders that belong to nobody, relative to the data folder."""
        known = {row[0] for row in self._ask("SELECT path FROM instances UNION SELECT path FROM results")}
        found = []
        for folder in ("inbox", "results", "broker"):
            for path in sorted((self._data / folder).rglob("*")):
                name = path.relative_to(self._data).as_posix()
                if path.is_file() and name not in known and not _living_queue(path):
                    found.append(name)
        return tuple(found)

    def _on_disk(self, path: str) -> str:
        try:
            return digest_of_file(self._data / path)
        except (OSError, ValueError, AttributeError):
            return ""

    def _ask(self, query: str, values: tuple[object, ...] = ()) -> list[tuple]:
        with closing(sqlite3.connect(self._uri, uri=True, timeout=30)) as connection:
            return connection.execute(query, values).fetchall()


def _living_queue(path: Path) -> bool:
    """Tell whether a file of the embedded broker is in use: its control files, and messages nobody has taken yet."""
    return path.parent.name == "control" or (path.suffix == ".msg" and not path.name.startswith("."))
