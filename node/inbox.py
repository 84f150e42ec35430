"""Bytes to disk so that they stay: temporary file, fsync, rename, fsync of the folder."""

import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from node.errors import Answer, InboxError
from node.uids import require_uid

MB = 1_000_000
STALE_SECONDS = 3600
"""A temporary file this old belongs to nobody any more."""


@dataclass(frozen=True)
class Kept:
    """An object that is safely on disk."""

    path: Path
    digest: str
    size: int


class Inbox:
    """The folder of received objects: `inbox/STUDY/SERIES/SOP-DIGEST.dcm`.

    The name holds the object's digest, so that equal objects meet and different ones never overwrite each other.
    """

    def __init__(self, data: Path, min_free_mb: int) -> None:
        self._root = data / "inbox"
        self._temporary = data / "inbox" / "tmp"
        self._min_free_mb = min_free_mb
        self._temporary.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._sweep()

    def require_room(self) -> None:
        """Raise InboxError (out of resources) when the disk is nearly full, before anything is lost."""
        free = shutil.disk_usage(self._root).free // MB
        if free < self._min_free_mb:
            sentence = f"only {free} MB are free on the disk; {self._min_free_mb} MB must stay free"
            raise InboxError(sentence, retry=True, status=Answer.OUT_OF_RESOURCES)

    def keep(self, uids: tuple[str, str, str], content: bytes, digest: str) -> Kept:
        """Write an object under its study, series and SOP Instance UID; when this returns, it survives a power cut.

        content: the bytes of the file. digest: hexadecimal, equal for objects that count as the same.
        Raises ObjectError for an invalid UID, InboxError (out of resources) when the disk does not take it.
        """
        study, series, sop = (require_uid(uid, "UID") for uid in uids)
        folder = self._root / study / series
        target = folder / f"{sop}-{digest[:12]}.dcm"
        try:
            self._write(content, folder, target)
        except OSError as error:
            sentence = f"the object could not be written to disk: {error.strerror}"
            raise InboxError(sentence, retry=True, status=Answer.OUT_OF_RESOURCES) from error
        return Kept(target, digest, len(content))

    def discard(self, kept: Kept) -> None:
        """Remove an object that the ledger did not take."""
        kept.path.unlink(missing_ok=True)

    def _write(self, content: bytes, folder: Path, target: Path) -> None:
        _make_folder(folder)
        handle, name = tempfile.mkstemp(dir=self._temporary)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        _sync_folder(folder)

    def _sweep(self) -> None:
        """Remove what a crash left half written."""
        for path in self._temporary.iterdir():
            if time.time() - path.stat().st_mtime > STALE_SECONDS:
                path.unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    """Create a folder and its parents so that the entries survive, too."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
