"""The inbox: received objects written so that they survive a power cut (temporary file, rename, fsync of both)."""

import hashlib
import mmap
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from node.dicom.elements import Buffer
from node.dicom.uids import require_uid
from node.errors import InboxError, StoreStatus
from node.files.inbox_names import INBOX, TEMPORARY, file_name, series_folder
from node.files.open_folders import OpenFolders

OPEN_FOLDERS = 64
WRITEBACK_BYTES = 131_072
"""So many bytes of an object at a time go to the disk while the rest is still being received."""


@dataclass(frozen=True)
class StoredFile:
    """An object that is durable on disk; key: of its file; digest: SHA-256 of transfer syntax and data set."""

    key: str
    digest: str
    size: int


class Inbox:
    """The folder of received objects; one instance serves all associations of a process."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.temporary = data / INBOX / TEMPORARY
        self.temporary.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folders = OpenFolders(OPEN_FOLDERS)

    def close(self) -> None:
        """Close the open folders."""
        self.folders.close()

    def create(self, meta: bytes, syntax: str) -> "IncomingFile":
        """Create a file. meta: preamble, prefix and file meta information. Raises InboxError when the disk is full."""
        return IncomingFile(self, meta, syntax)


class IncomingFile:
    """A file that is being written; it is temporary until it is stored.

    Its digest is that of what the sender sent, transfer syntax and data set: the file meta information is our own, and
    must not make the same object look different.
    """

    def __init__(self, inbox: Inbox, meta: bytes, syntax: str) -> None:
        self._inbox = inbox
        self._token = secrets.token_hex(8)
        self._path = f"{inbox.temporary}/{os.getpid()}-{self._token}"
        self._hash = hashlib.sha256(syntax.encode("ascii"))
        self.start = self.size = len(meta)
        self._written_back = 0  # the disk has been told to write the bytes before this
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
        if self.size - self._written_back >= WRITEBACK_BYTES:
            # The kernel begins to write pages that are declared unneeded, which leaves less for the fsync to wait for.
            os.posix_fadvise(
                self._descriptor, self._written_back, self.size - self._written_back, os.POSIX_FADV_DONTNEED
            )
            self._written_back = self.size

    @contextmanager
    def content(self) -> Iterator[Buffer]:
        """Map the file into memory; only the pages that are read take any."""
        with mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_READ) as content:
            yield content

    def store(self, study_uid: str, series_uid: str, sop_uid: str) -> StoredFile:
        """Move the file to its final name; when this returns, it survives a power cut.

        Raises ObjectError for an invalid UID, InboxError (out of resources) when the disk does not take it.
        """
        study, series, sop = (require_uid(uid, "UID") for uid in (study_uid, series_uid, sop_uid))
        digest = self._hash.hexdigest()
        key = series_folder(study, series)
        folder = f"{self._inbox.data}/{key}"
        name = file_name(sop, digest, self._token)
        try:
            try:
                self._move(folder, name)
            except FileNotFoundError:  # retention has just removed the folder
                self._inbox.folders.forget(folder)
                self._move(folder, name)
        except OSError as error:
            raise _not_written(error) from error
        os.close(self._descriptor)
        return StoredFile(f"{key}/{name}", digest, self.size)

    def _move(self, folder: str, name: str) -> None:
        with self._inbox.folders.open(folder) as descriptor:
            # The file is synced under its new name: the entry of its folder is written with it, and the folder's own
            # sync finds nothing left to do. A crash in between leaves a file whose digest differs from the one in its
            # name, without a row and without a success response; the next start sets it aside.
            os.rename(self._path, name, dst_dir_fd=descriptor)
            self._path = f"{folder}/{name}"
            os.fsync(self._descriptor)
            os.fsync(descriptor)

    def discard(self) -> None:
        """Remove the file."""
        os.close(self._descriptor)
        Path(self._path).unlink(missing_ok=True)


def _not_written(error: OSError) -> InboxError:
    sentence = f"the object could not be written to disk: {error.strerror}"
    return InboxError(sentence, retry=True, status=StoreStatus.OUT_OF_RESOURCES)


def _write_all(descriptor: int, piece: memoryview) -> None:
    while piece:
        piece = piece[os.write(descriptor, piece) :]
