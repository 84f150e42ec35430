"""The result files of a job: written in a temporary folder, made durable, and moved into place by one rename."""

import hashlib
import shutil
from collections.abc import Iterable
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError

from node.files.durable import sync
from node.files.store import FileStore
from node.records.results import Result

RESULTS = "results"


class ResultFolder:
    """The folder one attempt of a job writes to, and the final one: `results/<job>` under the data folder."""

    def __init__(self, data: Path, job_id: str, attempt: str) -> None:
        self._store = FileStore(data)
        results = self._store.path(RESULTS)
        results.mkdir(parents=True, exist_ok=True)
        self.final = results / job_id
        self.unfinished = results / f".{job_id}.{attempt}"
        for leftover in results.glob(f".{job_id}.*"):  # of attempts that were killed
            shutil.rmtree(leftover, ignore_errors=True)
        self.unfinished.mkdir()

    def discard(self) -> None:
        """Remove what this attempt has written and not kept."""
        shutil.rmtree(self.unfinished, ignore_errors=True)

    def keep(self, files: Iterable[Path]) -> tuple[Result, ...]:
        """Make all files durable under the final name and return the records of `files`.

        The files of an earlier attempt under that name are replaced: they were never recorded, and the bytes are the
        same.
        """
        records = tuple(self._record(path) for path in files)
        for path in (*self.unfinished.rglob("*"), self.unfinished):
            sync(path)
        shutil.rmtree(self.final, ignore_errors=True)
        self.unfinished.rename(self.final)
        sync(self.final.parent)
        return records

    def _record(self, path: Path) -> Result:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        key = self._store.key(self.final / path.relative_to(self.unfinished))
        sop_class, sop = _sop_uids(path)
        return Result(path.stem, key, digest, path.stat().st_size, sop_class, sop)


def _sop_uids(path: Path) -> tuple[str, str]:
    """Return SOP Class and Instance UID of a DICOM file, two empty strings for any other file."""
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID", "SOPInstanceUID"])
    except InvalidDicomError:
        return "", ""
    return str(header.SOPClassUID), str(header.SOPInstanceUID)
