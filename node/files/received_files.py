"""Received files as they are read again: their digest, and the check of a series before it is segmented."""

import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from node.dicom.elements import UnusualEncodingError
from node.dicom.file_meta import GROUP_LENGTH_END, MAX_META, decode_file_meta
from node.errors import InboxError
from node.files.durable import move_durably
from node.files.inbox_names import INBOX, SET_ASIDE
from node.files.store import FileStore
from node.ledger import Ledger

READ_BYTES = 1 << 20

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CheckedSeries:
    """The files of a job's series; changed: the ids of the instances whose files are gone, damaged or changed."""

    files: tuple[Path, ...]
    changed: tuple[int, ...]


def content_digest(path: Path, *, durable: bool = False) -> tuple[str, str, int] | None:
    """Return transfer syntax, SHA-256 of transfer syntax and data set, and the size of a file.

    durable: also sync the file. None when it ends before its data set begins. Raises UnusualEncodingError when it is
    not a DICOM file, OSError.
    """
    with path.open("rb") as file:
        if durable:
            os.fsync(file.fileno())
        begin = file.read(GROUP_LENGTH_END + MAX_META)
        if len(begin) <= GROUP_LENGTH_END:
            return None
        meta = decode_file_meta(begin)
        file.seek(meta.start)
        sent = hashlib.sha256(meta.transfer_syntax.encode())
        while piece := file.read(READ_BYTES):
            sent.update(piece)
        return None if file.tell() == meta.start else (meta.transfer_syntax, sent.hexdigest(), file.tell())


def check_series(ledger: Ledger, job_id: str) -> CheckedSeries:
    """Compare the files of a job's series with the digests recorded when they came.

    A file that differs is moved to the folder `set-aside`, so that the same object can take its place when it is sent
    again. Raises InboxError when a file can neither be read nor moved, as with a disk that does not answer.
    """
    store = FileStore(ledger.data)
    files, changed = [], []
    for instance_id, key, sha256 in ledger.instances.files_of(job_id):
        path = store.path(key)
        files.append(path)
        try:
            if not _is_unchanged(path, sha256):
                move_durably(path, store.path(f"{SET_ASIDE}{key.removeprefix(INBOX)}"))
                log.error("%s is not as it was received and was moved to %s", key, SET_ASIDE)
                changed.append(instance_id)
        except FileNotFoundError:
            changed.append(instance_id)
        except OSError as error:
            raise InboxError(f"the received file {path} cannot be read: {error.strerror}", retry=True) from error
    return CheckedSeries(tuple(files), tuple(changed))


def _is_unchanged(path: Path, sha256: str) -> bool:
    try:
        found = content_digest(path)
    except UnusualEncodingError:
        return False
    return found is not None and found[1] == sha256
