"""The state at the end of a crash run: ledger rows, files, objects at the PACS. Read without the product's code."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from e2e.crash.pacs import Stored
from e2e.crash.senders import SendLog
from e2e.crash.studies import Study, digest_of_file
from sql import ask

FINISHED = ("delivered", "committed", "declined", "held", "failed", "cancelled")
DELIVERED = ("delivered", "committed")
OPEN_DELIVERIES = ("waiting", "sending")


@dataclass(frozen=True)
class ObjectRow:
    """One object in the ledger; on_disk: the SHA-256 of the file at its path, empty without a file."""

    series_uid: str
    revision: int
    sop_uid: str
    variant: int
    sha256: str
    on_disk: str


@dataclass(frozen=True)
class JobRow:
    """One revision of a series; results: the SOP Instance UIDs of its results."""

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
class EndState:
    """Everything that is checked. results_by_uid: the UID of a result tells its slices (TraceableSegmenter)."""

    studies: list[Study]
    send_logs: dict[int, SendLog]
    rows: list[ObjectRow]
    jobs: list[JobRow]
    refusals: dict[str, int]
    stored: list[Stored]
    leftovers: tuple[str, ...] = ()
    complaints: tuple[str, ...] = ()
    results_by_uid: bool = True


class LedgerReader:
    """Reads the ledger's file while the node runs."""

    def __init__(self, data: Path) -> None:
        self._data = data

    def unfinished(self) -> int:
        """Return how many jobs and deliveries are not finished."""
        marks = ", ".join("?" * len(FINISHED))
        [[jobs]] = self._ask(f"SELECT count(*) FROM jobs WHERE state NOT IN ({marks})", FINISHED)
        [[open_ones]] = self._ask("SELECT count(*) FROM deliveries WHERE state IN (?, ?)", OPEN_DELIVERIES)
        return int(jobs) + int(open_ones)

    def rows(self) -> list[ObjectRow]:
        """Return all objects, with the digests of their files."""
        found = self._ask(
            "SELECT s.series_uid, i.revision, i.sop_uid, i.variant, i.sha256, i.path FROM instances i"
            " JOIN series s ON s.id = i.series_id ORDER BY i.id"
        )
        return [ObjectRow(*row[:5], on_disk=self._on_disk(row[5])) for row in found]

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
        """Return the files that the ledger does not name, relative to the data folder."""
        known = {row[0] for row in self._ask("SELECT path FROM instances UNION SELECT path FROM results")}
        found = []
        for folder in ("inbox", "results", "broker"):
            for path in sorted((self._data / folder).rglob("*")):
                name = path.relative_to(self._data).as_posix()
                if path.is_file() and name not in known and not _is_broker_file(path):
                    found.append(name)
        return tuple(found)

    def _on_disk(self, path: str) -> str:
        try:
            return digest_of_file(self._data / path)
        except (OSError, ValueError, AttributeError):
            return ""

    def _ask(self, query: str, values: tuple[object, ...] = ()) -> list[tuple]:
        return ask(self._data, query, values)


def _is_broker_file(path: Path) -> bool:
    """Tell whether the embedded broker still uses a file: a control file, or a message no worker has taken yet."""
    return path.parent.name == "control" or (path.suffix == ".msg" and not path.name.startswith("."))
