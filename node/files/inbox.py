"""Bytes to disk so that they stay: temporary file, rename, fsync of the file and of the folder."""

import hashlib
import mmap
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from node.dicom.elements import Buffer
from node.dicom.uids import require_uid
from node.errors import InboxError, StoreStatus

NAME_DIGITS = 16
OPEN_FOLDERS = 64
BEGIN_BYTES = 131_072
"""So much of an object is given to the disk at a time, while the rest is on its way."""


@dataclass(frozen=True)
class StoredFile:
    """An object that is safely on disk."""

    path: Path
    digest: str
    size: int


class Inbox:
    """The folder of received objects: `inbox/STUDY/SERIES/SOP-DIGEST-TOKEN.dcm`.

    The name holds the beginning of the object's digest, so that a whole file can be told from half of one, and a token,
    so that no two arrivals ever share a file. The digest is the SHA-256 of what the sender sent: transfer syntax and
    data set; the file meta information is our own and must not tell objects apart.
    """

    def __init__(self, data: Path) -> None:
        self.root = data / "inbox"
        self.temporary = self.root / "tmp"
        self.temporary.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The folders last used stay open, because to open one costs as much as to sync it.
        self.folder = lru_cache(OPEN_FOLDERS)(_Folder)

    def create(self, meta: bytes, syntax: str) -> "IncomingFile":
        """Begin a file. meta: preamble, prefix and file meta information. Raises InboxError when the disk is full."""
        return IncomingFile(self, meta, syntax)


class IncomingFile:
    """A file that is being written; it counts for nothing until it is kept."""

    def __init__(self, inbox: Inbox, meta: bytes, syntax: str) -> None:
        self._inbox = inbox
        self._token = secrets.token_hex(8)
        self._path = f"{inbox.temporary}/{os.getpid()}-{self._token}"
        self._hash = hashlib.sha256(syntax.encode("ascii"))
        self.start = self.size = len(meta)
        self._begun = 0  # up to here the disk is already at it
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _not_written(error) from error
        try:
            _write_all(self._descriptor, memoryview(meta))
        except OSError as error:
            self.discard()
            raise _not_written(error) from error

    def write(self, piece: memoryview) -> None:
        """Append bytes of the data set. Raises InboxError (out of resources) when the disk does not take them."""
        try:
            _write_all(self._descriptor, piece)
        except OSError as error:
            raise _not_written(error) from error
        self._hash.update(piece)
        self.size += len(piece)
        if self.size - self._begun >= BEGIN_BYTES:
            # The kernel begins to write what it is told is not needed soon: less is left for the sync to wait for.
            os.posix_fadvise(self._descriptor, self._begun, self.size - self._begun, os.POSIX_FADV_DONTNEED)
            self._begun = self.size

    @contextmanager
    def content(self) -> Iterator[Buffer]:
        """Look at the file: a map of it, of which only what is looked at takes memory."""
        with mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_READ) as content:
            yield content

    def store(self, study_uid: str, series_uid: str, sop_uid: str) -> StoredFile:
        """Bring the file to its place; when this returns, it survives a power cut.

        Raises ObjectError for an invalid UID, InboxError (out of resources) when the disk does not take it.
        """
        study, series, sop = (require_uid(uid, "UID") for uid in (study_uid, series_uid, sop_uid))
        digest = self._hash.hexdigest()
        folder = f"{self._inbox.root}/{study}/{series}"
        name = f"{sop}-{digest[:NAME_DIGITS]}-{self._token[:8]}.dcm"
        try:
            try:
                self._move(folder, name)
            except FileNotFoundError:  # the folder was emptied and removed a moment ago
                self._inbox.folder.cache_clear()
                self._move(folder, name)
        except OSError as error:
            raise _not_written(error) from error
        os.close(self._descriptor)
        return StoredFile(Path(self._path), digest, self.size)

    def _move(self, path: str, name: str) -> None:
        folder = self._inbox.folder(path)
        # The file is synced under its new name: its folder's entry is written with it, and the folder's own sync
        # finds nothing left to do. A crash in between leaves a file whose digest is not that of its name, and no
        # row and no success; the next start removes it.
        os.rename(self._path, name, dst_dir_fd=folder.descriptor)
        self._path = f"{path}/{name}"
        os.fsync(self._descriptor)
        os.fsync(folder.descriptor)

    def discard(self) -> None:
        """Throw the file away."""
        os.close(self._descriptor)
        Path(self._path).unlink(missing_ok=True)


class _Folder:
    """An open folder, made, durably, if need be; it is closed when nobody refers to it any more."""

    def __init__(self, path: str) -> None:
        _make_folder(Path(path))
        self.descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)


def _not_written(error: OSError) -> InboxError:
    sentence = f"the object could not be written to disk: {error.strerror}"
    return InboxError(sentence, retry=True, status=StoreStatus.OUT_OF_RESOURCES)


def _write_all(descriptor: int, piece: memoryview) -> None:
    while piece:
        piece = piece[os.write(descriptor, piece) :]


def _make_folder(folder: Path) -> None:
    """Create a folder and its parents so that the entries survive, too."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    handle = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
