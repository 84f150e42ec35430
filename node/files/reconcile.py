"""Reconciles the files of the inbox with the rows of the ledger, before the receivers start.

A crash leaves files without a row. Complete ones are adopted. One that is not what its name says, or cannot be read,
was most probably never acknowledged; but a damaged disk leaves the same, so it is set aside, not removed, and reported.
A row without its file is a loss, and is reported.
"""

import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from uuid import uuid4

from node.dicom.elements import UnusualEncodingError
from node.dicom.headers import file_header
from node.errors import InboxError, ObjectError
from node.files.durable import move_durably, sync_folder
from node.files.inbox_names import INBOX, SET_ASIDE, TEMPORARY, digest_start
from node.files.received_files import content_digest
from node.files.store import FileStore
from node.ledger import Ledger
from node.records.instances import Arrival, Association, Ending, Outcome
from node.records.jobs import Refusal
from node.records.states import Reason

BATCH = 100  # objects in one transaction
FINDER = "FOUND-ON-DISK"
"""The calling AE title of adopted files: their sender is not known any more."""

Listing = dict[str, set[str]]

log = logging.getLogger(__name__)


class Fault(Enum):
    """Why a file without a row is not adopted."""

    EMPTY = "empty"  # it holds no byte of a data set: it is removed
    DAMAGED = "damaged"  # it is not what its name says, or cannot be read as DICOM: it is set aside
    UNKNOWN = "unknown"  # it is not one of our files, or cannot be read: it is left alone


@dataclass(frozen=True)
class Reconciled:
    """How many files were adopted, removed as empty or temporary, removed as duplicates; how many rows have no file.

    aside: damaged files that were moved to `set-aside`. left: files that are not ours, or cannot be read, and were left
    alone.
    """

    adopted: int = 0
    removed: int = 0
    duplicates: int = 0
    missing: int = 0
    left: int = 0
    aside: int = 0

    def __str__(self) -> str:
        if self == Reconciled():
            return "the inbox and the ledger agree"
        return (
            f"the inbox and the ledger did not agree: {self.adopted} complete files were added to the ledger, "
            f"{self.removed} empty or temporary and {self.duplicates} duplicate files removed, "
            f"{self.aside} damaged files moved to {SET_ASIDE}, {self.left} unknown files left alone; {self.missing} "
            "received files are missing"
        )


def reconcile(ledger: Ledger, data: Path) -> Reconciled:
    """Make the inbox and the ledger agree; no receiver may run on this data folder meanwhile.

    Retention may run: files are listed before rows are read, so a file that it removes in between has no row either.
    Raises InboxError when the inbox cannot be listed, LedgerError.
    """
    try:
        store = FileStore(data)
        removed = _clear(data / INBOX / TEMPORARY)
        listing = _listing(data)
        missing = [
            instance_id
            for instance_id, key in ledger.missing_files.recorded_files()
            if not _tick_off(listing, key, store)
        ]
        for key in ledger.retention.pending_removals():
            _tick_off(listing, key, store)
        counts = _adopt(ledger, store, listing)
    except OSError as error:
        raise InboxError(f"the inbox cannot be reconciled: {error.strerror} ({error.filename})") from error
    found = Reconciled(
        adopted=counts[Outcome.NEW] + counts[Outcome.VARIANT],
        removed=removed + counts[Fault.EMPTY],
        duplicates=counts[Outcome.DUPLICATE],
        missing=_report_missing(ledger, missing),
        left=counts[Fault.UNKNOWN],
        aside=counts[Fault.DAMAGED],
    )
    if found.aside:
        _report_aside(ledger, found.aside)
    for job_id in ledger.missing_files.resume_jobs():
        log.info("job %s continues: its missing files are there again", job_id)
    log.log(logging.ERROR if found.missing or found.aside else logging.INFO, "%s", found)
    return found


def _clear(folder: Path) -> int:
    """Remove everything in the folder of temporary files: no receiver writes there now."""
    count = 0
    for place, _, names in os.walk(folder):
        for name in names:
            Path(place, name).unlink(missing_ok=True)
            count += 1
    return count


def _listing(data: Path) -> Listing:
    """Return the names of the files in `inbox/STUDY/SERIES` by that folder."""
    found: Listing = {}
    for study in _folders(data / INBOX):
        if study.name == TEMPORARY:
            continue
        for series in _folders(Path(study.path)):
            files = {entry.name for entry in _entries(Path(series.path)) if not entry.is_dir(follow_symlinks=False)}
            found[f"{INBOX}/{study.name}/{series.name}"] = files
    return found


def _folders(folder: Path) -> Iterator[os.DirEntry[str]]:
    return (entry for entry in _entries(folder) if entry.is_dir())


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield the entries of a folder; none if retention has just removed it."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        yield from entries


def _tick_off(listing: Listing, key: str, store: FileStore) -> bool:
    """Remove a key from the listing; tell whether its file exists."""
    folder, _, name = key.rpartition("/")
    names = listing.get(folder)
    if names is not None and name in names:
        names.remove(name)
        return True
    return store.exists(key)


def _adopt(ledger: Ledger, store: FileStore, listing: Listing) -> Counter[Outcome | Fault]:
    """Record complete files in the ledger, set damaged ones aside and remove empty ones."""
    counts: Counter[Outcome | Fault] = Counter()
    association = Association(uuid4().hex, "reconcile", FINDER, "", "", ledger.now())
    arrivals: list[Arrival] = []
    for folder in sorted(folder for folder, names in listing.items() if names):
        sync_folder(store.path(folder))  # its entries may not have been durable when the receiver died
        for name in sorted(listing[folder]):
            key = f"{folder}/{name}"
            arrival = _arrival(store, key, association)
            if isinstance(arrival, Arrival):
                arrivals.append(arrival)
            elif arrival is not None:
                counts[arrival] += 1
            if arrival is Fault.EMPTY:
                store.remove(key)
            elif arrival is Fault.DAMAGED:
                move_durably(store.path(key), store.path(f"{SET_ASIDE}{key.removeprefix(INBOX)}"))
                log.error("%s is damaged and was moved to %s", key, SET_ASIDE)
            if len(arrivals) == BATCH:
                counts.update(_record(ledger, store, arrivals))
                arrivals = []
    counts.update(_record(ledger, store, arrivals))
    # Their senders got no success response, as if the association had been lost.
    ledger.associations.end(association.id, Ending.LOST)
    return counts


def _record(ledger: Ledger, store: FileStore, arrivals: Sequence[Arrival]) -> Iterator[Outcome]:
    outcomes = ledger.instances.record_all(arrivals) if arrivals else []
    for arrival, outcome in zip(arrivals, outcomes, strict=True):
        if outcome is Outcome.DUPLICATE and ledger.missing_files.replace_missing(arrival):
            yield Outcome.NEW
            continue
        if outcome is Outcome.DUPLICATE:
            store.remove(arrival.key)
        yield outcome


def _arrival(store: FileStore, key: str, association: Association) -> Arrival | Fault | None:
    """Return what to record about a file, or why it is not adopted; None when it has been removed meanwhile."""
    path = store.path(key)
    start = digest_start(path.name)
    if start is None:
        log.warning("%s is not the name of a received file; the file is left alone", path)
        return Fault.UNKNOWN
    try:
        found = content_digest(path, durable=True)
        if found is not None and found[1].startswith(start):
            syntax, digest, size = found
            return Arrival(file_header(path), syntax, key, digest, size, association)
        return Fault.EMPTY if found is None else Fault.DAMAGED
    except FileNotFoundError:
        return None
    except (UnusualEncodingError, ObjectError):
        return Fault.DAMAGED
    except OSError as error:
        log.error("%s cannot be read (%s) and is left alone", path, error.strerror)
        return Fault.UNKNOWN


def _report_aside(ledger: Ledger, count: int) -> None:
    """Record that damaged files were set aside: a person must find out whether the sender still has the objects."""
    sentence = (
        f"{count} file{' was' if count == 1 else 's were'} found damaged in the inbox, without a row in the ledger, "
        f"and moved to {SET_ASIDE} in the data folder: compare the series with the sender, send it again if it differs"
    )
    ledger.decisions.record_refusal(Refusal(FINDER, "", Reason.DAMAGED_FILE, sentence))


def _report_missing(ledger: Ledger, missing: Sequence[int]) -> int:
    """Record on the jobs how many of their received files are missing; return the total."""
    by_job = ledger.missing_files.mark_missing(missing)
    for job_id, count in by_job.items():
        log.error("job %s: %d of its received files are missing on disk", job_id, count)
    return sum(by_job.values())
