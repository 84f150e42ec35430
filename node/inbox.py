"""Bytes to disk so that they stay: temporary file, rename, fsync of the file and of the folder."""

import hashlib
import mmap
import os
import secrets
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from node.elements import Buffer
from node.errors import Answer, InboxError
from node.uids import require_uid

NAME_DIGITS = 16
OPEN_FOLDERS = 64


@dataclass(frozen=True)
class Kept:
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
        self._folders = _Folders()

    def draft(self, meta: bytes, syntax: str) -> "Draft":
        """Begin a file. meta: preamble, prefix and file meta information. Raises InboxError when the disk is full."""
        return Draft(self, meta, syntax)

    @contextmanager
    def folder(self, path: Path) -> Iterator[int]:
        """Hold the descriptor of a folder below the inbox, which is made, durably, if need be."""
        with self._folders.held(path) as descriptor:
            yield descriptor


class Draft:
    """A file that is being written; it counts for nothing until it is kept."""

    def __init__(self, inbox: Inbox, meta: bytes, syntax: str) -> None:
        self._inbox = inbox
        self._path = inbox.temporary / f"{os.getpid()}-{secrets.token_hex(8)}"
        self._hash = hashlib.sha256(syntax.encode("ascii"))
        self.start = self.size = len(meta)
        with _disk_errors():
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with _disk_errors():
                _write_all(self._descriptor, memoryview(meta))
        except InboxError:
            self.discard()
            raise

    def write(self, piece: memoryview) -> None:
        """Append bytes of the data set. Raises InboxError (out of resources) when the disk does not take them."""
        with _disk_errors():
            _write_all(self._descriptor, piece)
        self._hash.update(piece)
        self.size += len(piece)

    @contextmanager
    def content(self) -> Iterator[Buffer]:
        """Look at the file: a map of it, of which only what is looked at takes memory."""
        with mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_READ) as content:
            yield content

    def keep(self, study_uid: str, series_uid: str, sop_uid: str) -> Kept:
        """Bring the file to its place; when this returns, it survives a power cut.

        Raises ObjectError for an invalid UID, InboxError (out of resources) when the disk does not take it.
        """
        study, series, sop = (require_uid(uid, "UID") for uid in (study_uid, series_uid, sop_uid))
        digest = self._hash.hexdigest()
        target = self._inbox.root / study / series / f"{sop}-{digest[:NAME_DIGITS]}-{secrets.token_hex(4)}.dcm"
        with _disk_errors():
            try:
                self._move(target)
            except FileNotFoundError:  # the folder was emptied and removed a moment ago
                self._move(target)
        os.close(self._descriptor)
        return Kept(target, digest, self.size)

    def _move(self, target: Path) -> None:
        with self._inbox.folder(target.parent) as folder:
            # The file is synced under its new name: its folder's entry is written with it, and the folder's own sync
            # finds nothing left to do. A crash in between leaves a file whose digest is not that of its name, and no
            # row and no success; the next start removes it.
            os.rename(self._path, target.name, dst_dir_fd=folder)
            self._path = target
            os.fsync(self._descriptor)
            os.fsync(folder)

    def discard(self) -> None:
        """Throw the file away."""
        os.close(self._descriptor)
        self._path.unlink(missing_ok=True)


class _Folders:
    """The folders last used, open, because to open one costs as much as to sync it."""

    def __init__(self) -> None:
        self._open: OrderedDict[Path, int] = OrderedDict()
        self._users: dict[int, int] = {}
        self._lock = Lock()

    @contextmanager
    def held(self, path: Path) -> Iterator[int]:
        with self._lock:
            descriptor = self._open.pop(path, None)
            if descriptor is None:
                _make_folder(path)
                descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._open[path] = descriptor
            self._users[descriptor] = self._users.get(descriptor, 0) + 1
        try:
            yield descriptor
        except FileNotFoundError:
            with self._lock:
                if self._open.get(path) == descriptor:
                    del self._open[path]
            raise
        finally:
            self._let_go(descriptor)

    def _let_go(self, descriptor: int) -> None:
        with self._lock:
            self._users[descriptor] -= 1
            kept = list(self._open.items())
            for path, _ in kept[: max(len(kept) - OPEN_FOLDERS, 0)]:
                del self._open[path]
            unused = [d for d, users in self._users.items() if users == 0 and d not in self._open.values()]
            for found in unused:
                del self._users[found]
                os.close(found)


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        sentence = f"the object could not be written to disk: {error.strerror}"
        raise InboxError(sentence, retry=True, status=Answer.OUT_OF_RESOURCES) from error


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
