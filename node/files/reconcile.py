"""At the start of the receiver: the files of the inbox and the rows of the ledger are brought to agree again.

A crash leaves them apart in two ways: half a file, or a whole one whose row was not written. Neither was acknowledged,
so the sender still has it; what is whole is taken all the same. A row whose file is gone is a loss, and is told.
"""

import hashlib
import logging
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from uuid import uuid4

from pydicom.filereader import read_file_meta_info

from node.dicom.headers import file_header
from node.errors import InboxError, ObjectError, StoreStatus
from node.files.durable import sync_folder
from node.ledger import Ledger
from node.records.instances import Arrival, Association, Ending, Outcome
from node.records.states import Reason

NAME = re.compile(r"[0-9.]{1,64}-(?:([0-9a-f]{16})-[0-9A-Za-z_]{8}|([0-9a-f]{12}))\.dcm")
"""How received files are called, now and in the first version: SOP Instance UID, digest and, now, a token."""
AHEAD = 144  # bytes of preamble, "DICM" and the group length, which counts what follows (PS3.10 7.1)
PIECE = 1 << 20
AT_ONCE = 100  # objects in one transaction
TEMPORARY = "tmp"
FINDER = "FOUND-ON-DISK"
"""What stands where the calling AE title of an association would: nobody knows any more who sent the object."""

Listing = dict[str, set[str]]

log = logging.getLogger(__name__)


class Fault(Enum):
    """Why a file without a row is not taken."""

    HALF = "half"  # it is broken, so nobody was told that we have it
    STRANGE = "strange"  # it is no file of ours, or cannot be read: it is left alone


@dataclass(frozen=True)
class Reconciled:
    """What was found: files taken into the ledger, removed half files, removed doubles, rows without a file.

    left: files that are none of ours, or cannot be read, and were left alone.
    """

    adopted: int = 0
    removed: int = 0
    doubled: int = 0
    missing: int = 0
    left: int = 0

    def __str__(self) -> str:
        if self == Reconciled():
            return "the inbox and the ledger agree"
        return (
            f"the inbox and the ledger did not agree: {self.adopted} whole files were taken into the ledger, "
            f"{self.removed} unfinished and {self.doubled} double ones removed, {self.left} strange ones left alone; "
            f"{self.missing} files that were received are gone"
        )


def reconcile(ledger: Ledger, data: Path) -> Reconciled:
    """Bring the inbox and the ledger to agree; no receiver may run on this data folder meanwhile.

    Retention may: files are listed before rows are read, so that what it removes in between is only gone twice.
    Raises InboxError when the inbox cannot be listed, LedgerError.
    """
    try:
        removed = _clear(data / "inbox" / TEMPORARY)
        unknown = _listing(data)
        missing = [
            instance_id
            for instance_id, path in ledger.missing_files.recorded_files()
            if not _tick_off(unknown, path, data)
        ]
        for path in ledger.retention.pending_removals():
            _tick_off(unknown, path, data)
        counts = _adopt(ledger, data, unknown)
    except OSError as error:
        raise InboxError(f"the inbox cannot be reconciled: {error.strerror} ({error.filename})") from error
    found = Reconciled(
        adopted=counts[Outcome.NEW] + counts[Outcome.VARIANT],
        removed=removed + counts[Fault.HALF],
        doubled=counts[Outcome.DUPLICATE],
        missing=_tell(ledger, missing),
        left=counts[Fault.STRANGE],
    )
    for job_id in ledger.missing_files.resume_jobs():
        log.info("job %s goes on: its missing files are there again", job_id)
    log.log(logging.ERROR if found.missing else logging.INFO, "%s", found)
    return found


def _clear(folder: Path) -> int:
    """Remove everything under the folder of unfinished files: nobody writes there now."""
    count = 0
    for place, _, names in os.walk(folder):
        for name in names:
            Path(place, name).unlink(missing_ok=True)
            count += 1
    return count


def _listing(data: Path) -> Listing:
    """Return the names of the files in `inbox/STUDY/SERIES` by that folder."""
    found: Listing = {}
    for study in _folders(data / "inbox"):
        if study.name == TEMPORARY:
            continue
        for series in _folders(Path(study.path)):
            files = {entry.name for entry in _entries(Path(series.path)) if not entry.is_dir(follow_symlinks=False)}
            found[f"inbox/{study.name}/{series.name}"] = files
    return found


def _folders(folder: Path) -> Iterator[os.DirEntry[str]]:
    return (entry for entry in _entries(folder) if entry.is_dir())


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield what lies in a folder; nothing if retention has just removed it."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        yield from entries


def _tick_off(listing: Listing, path: str, data: Path) -> bool:
    """Strike a path off the listing; tell whether its file is there."""
    folder, _, name = path.rpartition("/")
    names = listing.get(folder)
    if names is not None and name in names:
        names.remove(name)
        return True
    try:
        (data / path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _adopt(ledger: Ledger, data: Path, listing: Listing) -> Counter[Outcome | Fault]:
    """Take what is whole into the ledger and remove what is not."""
    counts: Counter[Outcome | Fault] = Counter()
    association = Association(uuid4().hex, "reconcile", FINDER, "", "", ledger.now())
    arrivals: list[Arrival] = []
    for folder in sorted(folder for folder, names in listing.items() if names):
        sync_folder(data / folder)  # perhaps its entries had not reached the disk when the receiver died
        for name in sorted(listing[folder]):
            path = data / folder / name
            arrival = _arrival(path, association)
            if isinstance(arrival, Arrival):
                arrivals.append(arrival)
            elif arrival is not None:
                counts[arrival] += 1
            if arrival is Fault.HALF:
                path.unlink(missing_ok=True)
            if len(arrivals) == AT_ONCE:
                counts.update(_record(ledger, arrivals))
                arrivals = []
    counts.update(_record(ledger, arrivals))
    # Whoever brought them never heard of success, so it is as well to say that their association was lost.
    ledger.associations.end(association.id, Ending.LOST)
    return counts


def _record(ledger: Ledger, arrivals: Sequence[Arrival]) -> Iterator[Outcome]:
    outcomes = ledger.instances.record_all(arrivals) if arrivals else []
    for arrival, outcome in zip(arrivals, outcomes, strict=True):
        if outcome is Outcome.DUPLICATE and ledger.missing_files.replace_missing(arrival):
            yield Outcome.NEW
            continue
        if outcome is Outcome.DUPLICATE:
            arrival.path.unlink(missing_ok=True)
        yield outcome


def _arrival(path: Path, association: Association) -> Arrival | Fault | None:
    """Return what to write down about a file, or why not; None when it is gone in the meantime."""
    named = NAME.fullmatch(path.name)
    if named is None:
        log.warning("%s is no file of ours and is left alone", path)
        return Fault.STRANGE
    try:
        syntax, digest, size = _digest(path)
        if not digest.startswith(named[1] or named[2]):
            return Fault.HALF
        return Arrival(file_header(path), syntax, path, digest, size, association)
    except FileNotFoundError:
        return None
    except ObjectError:
        return Fault.HALF
    except OSError as error:
        log.error("%s cannot be read (%s) and is left alone", path, error.strerror)
        return Fault.STRANGE


def _digest(path: Path) -> tuple[str, str, int]:
    """Return transfer syntax, the SHA-256 of what the sender sent (that and the data set), and the size in bytes.

    The bytes are durable afterwards.
    """
    with path.open("rb") as file:
        os.fsync(file.fileno())
        try:
            meta = read_file_meta_info(path)
            syntax = str(meta.TransferSyntaxUID)
            file.seek(AHEAD + int(meta.FileMetaInformationGroupLength))
        except OSError:
            raise
        except Exception as error:
            # pydicom meets half a file with nearly any exception.
            sentence = "it has no DICOM file meta information"
            raise ObjectError(Reason.BROKEN_OBJECT, sentence, StoreStatus.CANNOT_UNDERSTAND) from error
        sent = hashlib.sha256(syntax.encode())
        while piece := file.read(PIECE):
            sent.update(piece)
        return syntax, sent.hexdigest(), file.tell()


def _tell(ledger: Ledger, missing: Sequence[int]) -> int:
    """Note on the jobs which received files are gone; return how many."""
    by_job = ledger.missing_files.mark_missing(missing)
    for job_id, count in by_job.items():
        log.error("job %s: %d of its received files are gone from the disk", job_id, count)
    return sum(by_job.values())
