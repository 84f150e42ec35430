"""The result files of a job: one folder per attempt, made durable before a row names it, removed when no row does."""

import hashlib
import logging
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError

from node.files.durable import sync, sync_folder
from node.files.store import FileStore
from node.ledger import Ledger
from node.records.results import Result

RESULTS = "results"

log = logging.getLogger(__name__)


class ResultFolder:
    """The folder that one attempt of a job writes to: `results/JOB/ATTEMPT` under the data folder.

    No other attempt writes there or removes anything from it, so a worker that was paused beyond its lease cannot touch
    what its successor made. Only the transaction that ends the claim says which folder counts.
    """

    def __init__(self, data: Path, job_id: str, attempt: str) -> None:
        self._store = FileStore(data)
        self.path = self._store.path(f"{RESULTS}/{job_id}/{attempt}")
        self._kept = False

    def create(self) -> None:
        """Create the folder, which only this attempt knows. Raises OSError."""
        self.path.mkdir(parents=True)

    def keep(self, files: Iterable[Path]) -> tuple[Result, ...]:
        """Make everything durable and return the records of `files`. From now on a row may name the folder."""
        records = tuple(self._record(path) for path in files)
        results = self._store.path(RESULTS)
        for path in (*self.path.rglob("*"), self.path, self.path.parent, results):
            sync(path)
        self._kept = True
        return records

    def discard(self) -> None:
        """Remove what this attempt has written; for a folder that no row names."""
        shutil.rmtree(self.path, ignore_errors=True)
        _remove_if_empty(self.path.parent)

    def discard_unless_kept(self) -> None:
        """Remove an unfinished attempt; after `keep` nobody knows without the ledger (see `remove_unrecorded`)."""
        if not self._kept:
            self.discard()

    def _record(self, path: Path) -> Result:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        sop_class, sop = _sop_uids(path)
        return Result(path.stem, self._store.key(path), digest, path.stat().st_size, sop_class, sop)


def remove_unrecorded(ledger: Ledger) -> int:
    """Remove the folders of attempts that ended without a record, as after `kill -9`; return how many there were.

    A folder stays if a result names it, if its attempt still has the claim, or if the ledger does not know the job
    (another ledger may). The folders are listed before the ledger is asked: an attempt that began earlier has either
    its claim or its record by then.
    """
    store = FileStore(ledger.data)
    listed = [(folder.parent.name, folder) for folder in _attempts(store.path(RESULTS))]
    recorded = ledger.queue.recorded_attempts({job_id for job_id, _ in listed})
    count = 0
    for job_id, folder in listed:
        if job_id in recorded and folder.name not in recorded[job_id]:
            shutil.rmtree(folder, ignore_errors=True)
            sync_folder(folder.parent)
            _remove_if_empty(folder.parent)
            count += 1
    if count:
        log.info("%d folders of attempts without a record were removed", count)
    return count


def _attempts(results: Path) -> Iterator[Path]:
    if results.is_dir():
        for job in results.iterdir():
            if job.is_dir():
                yield from (folder for folder in job.iterdir() if folder.is_dir())


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:  # another attempt of the job has its folder there
        return


def _sop_uids(path: Path) -> tuple[str, str]:
    """Return SOP Class and Instance UID of a DICOM file, two empty strings for any other file."""
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID", "SOPInstanceUID"])
    except InvalidDicomError:
        return "", ""
    return str(header.SOPClassUID), str(header.SOPInstanceUID)
