"""The files of a job: made in an unfinished folder, made durable, and shown under their final name by one rename."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pydicom
from pydicom.errors import InvalidDicomError

from node.records.results import Result


class ResultFolder:
    """Where one attempt of a job writes, and where its results stay: `results/<job>` under the data folder."""

    def __init__(self, data: Path, job_id: str, attempt: str) -> None:
        results = data / "results"
        results.mkdir(parents=True, exist_ok=True)
        self.final = results / job_id
        self.unfinished = results / f".{job_id}.{attempt}"
        for left in results.glob(f".{job_id}.*"):  # by attempts that were killed
            shutil.rmtree(left, ignore_errors=True)
        self.unfinished.mkdir()

    def discard(self) -> None:
        """Remove what this attempt has written and not kept."""
        shutil.rmtree(self.unfinished, ignore_errors=True)

    def keep(self, files: Iterable[Path]) -> tuple[Result, ...]:
        """Make everything durable under the final name and return the records of `files`.

        What an earlier attempt left under that name is replaced: it was never recorded, and its bytes are the
        same.
        """
        records = tuple(self._record(path) for path in files)
        for path in (*self.unfinished.rglob("*"), self.unfinished):
            _sync(path)
        shutil.rmtree(self.final, ignore_errors=True)
        self.unfinished.rename(self.final)
        _sync(self.final.parent)
        return records

    def relocate(self, report: dict[str, Any], files: Iterable[Path]) -> dict[str, Any]:
        """Return the report with the final paths instead of the unfinished ones, and write it so into JSON files."""
        for path in files:
            if path.suffix == ".json":
                path.write_text(self._relocated(path.read_text()))
        moved: dict[str, Any] = json.loads(self._relocated(json.dumps(report)))
        return moved

    def _relocated(self, text: str) -> str:
        return text.replace(json.dumps(str(self.unfinished))[1:-1], json.dumps(str(self.final))[1:-1])

    def _record(self, path: Path) -> Result:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        final = self.final / path.relative_to(self.unfinished)
        sop_class, sop = _sop_uids(path)
        return Result(path.stem, final, digest, path.stat().st_size, sop_class, sop)


def _sop_uids(path: Path) -> tuple[str, str]:
    """Return SOP Class and Instance UID of a DICOM file, two empty strings for any other file."""
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID", "SOPInstanceUID"])
    except InvalidDicomError:
        return "", ""
    return str(header.SOPClassUID), str(header.SOPInstanceUID)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
