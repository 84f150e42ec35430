"""The Storage service (PS3.4 annex B): receives one object from its first fragment to the status of the response.

Success is answered only when the file is durable under its final name and the ledger has committed the row.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from node.dicom import dimse
from node.dicom.file_meta import encode_file_meta
from node.dicom.headers import begin_of_data_set, header_ahead, read_header
from node.dicom.negotiation import AnsweredContext
from node.dicom.uids import require_uid
from node.errors import LedgerError, NodeError, ObjectError, StoreStatus
from node.files.disk_space import DiskSpaceGuard
from node.files.inbox import Inbox, IncomingFile
from node.files.store import FileStore
from node.ledger import Ledger
from node.records.instances import Arrival, Association, Header, Outcome
from node.records.states import Reason
from node.scp.group_commit import GroupCommit
from node.scp.refusals import RefusalLog
from node.scp.resent import Resent, settle, settle_again
from node.scp.services import LOSSLESS_FIRST, TRANSFER_SYNTAXES
from node.settings.settings import Settings

log = logging.getLogger(__name__)

MB = 1_000_000
COPIED_BYTES = 1 << 20


class Storage:
    """Stores received objects in inbox and ledger; one instance serves all associations of a process."""

    command: ClassVar[int] = dimse.C_STORE_RQ

    def __init__(self, settings: Settings, ledger: Ledger, refusals: RefusalLog) -> None:
        self._ledger = ledger
        self._max_bytes = settings.intake.maximum_object_mb * MB
        self._inbox = Inbox(settings.data)
        self._store = FileStore(settings.data)
        self._disk_space = DiskSpaceGuard(settings)
        self._group_commit = GroupCommit(ledger)
        lossless_first = settings.intake.transfer_syntax == "lossless"
        self.transfer_syntaxes = LOSSLESS_FIRST if lossless_first else TRANSFER_SYNTAXES
        self.refusals = refusals

    def close(self) -> None:
        """Release what is kept open between objects."""
        self._inbox.close()

    def begin(self, association: Association, request: dimse.Request, context: AnsweredContext) -> "StoreOperation":
        """Begin to receive an object."""
        return StoreOperation(self, association, request, context)

    def create_file(self, request: dimse.Request, context: AnsweredContext, calling_ae: str) -> IncomingFile:
        """Create the object's file. Raises NodeError when it must not or cannot be written."""
        self._disk_space.require()
        require_uid(request.sop_class_uid, "Affected SOP Class UID")
        require_uid(request.sop_instance_uid, "Affected SOP Instance UID")
        _require_class_of_context(request, context)
        meta = encode_file_meta(request.sop_class_uid, request.sop_instance_uid, context.transfer_syntax, calling_ae)
        return self._inbox.create(meta, context.transfer_syntax)

    def require_room(self, size: int) -> None:
        """Raise ObjectError when an object is larger than allowed, InboxError when the disk becomes full meanwhile."""
        self._disk_space.require()
        if size > self._max_bytes:
            sentence = f"the object is larger than intake.maximum_object_mb = {self._max_bytes // MB}"
            raise ObjectError(Reason.TOO_LARGE, sentence, StoreStatus.CANNOT_UNDERSTAND)

    def record(self, arrival: Arrival) -> None:
        """Record an object whose file is durable. Raises NodeError when that fails; the file is removed then."""
        try:
            outcome = self._group_commit.record(arrival)
            is_duplicate = outcome is Outcome.DUPLICATE and not self._ledger.missing_files.replace_missing(arrival)
        except NodeError:
            self._remove_unless_recorded(arrival.key)
            raise
        resent = settle(self._ledger, self._store, arrival) if outcome is Outcome.VARIANT else None
        if is_duplicate or resent is Resent.SAME:
            self._store.remove(arrival.key)
            if is_duplicate:
                settle_again(self._ledger, self._store, arrival)
        elif resent is Resent.OTHER:
            sentence = (
                f"objects of series {arrival.header.series_uid} were received again with different content: "
                "they are kept beside the first ones, and the first ones are used"
            )
            self.refusals.record(arrival.association, Reason.DIFFERENT_CONTENT, sentence)

    def _remove_unless_recorded(self, key: str) -> None:
        """Remove a file that has no row; if the ledger cannot be asked, the next start of the node decides."""
        try:
            if not self._ledger.instances.knows_file(key):
                self._store.remove(key)
        except LedgerError:
            log.warning("%s is kept: the ledger cannot be asked whether it has a row", key)


class StoreOperation:
    """One object that is being received. The first failure is remembered; it is the status of the response."""

    def __init__(
        self, storage: Storage, association: Association, request: dimse.Request, context: AnsweredContext
    ) -> None:
        self._storage = storage
        self._association = association
        self._request = request
        self._context = context
        self._transfer_syntax = context.transfer_syntax
        self._failure: tuple[StoreStatus, str] | None = None  # not the exception: its traceback keeps what was parsed
        self._file: IncomingFile | None = None
        self._header_ahead: tuple[Header, int] | None = None  # the header, if the first fragment contained it
        with self._recording_failure():
            self._file = storage.create_file(request, context, association.calling_ae)

    def write(self, piece: memoryview) -> None:
        """Take a fragment of the data set."""
        file = self._file
        if file is None:
            return
        with self._recording_failure():
            if file.size == file.start:
                request = self._request
                self._header_ahead = header_ahead(
                    piece, self._transfer_syntax, request.sop_class_uid, request.sop_instance_uid
                )
            file.write(piece)
            self._storage.require_room(file.size)

    def finish(self) -> tuple[StoreStatus, str]:
        """Make the object durable; return status and Error Comment of the response."""
        file = self._file
        if file is not None:
            with self._recording_failure():
                if self._header_ahead is None:
                    file = self._without_foreign_elements(file)
                header = self._header(file)
                stored = file.store(header.study_uid, header.series_uid, header.sop_uid)
                self._file = None
                self._storage.record(
                    Arrival(header, self._transfer_syntax, stored.key, stored.digest, stored.size, self._association)
                )
        return self._failure or (StoreStatus.SUCCESS, "")

    def discard(self) -> None:
        """Remove what has been received: the association ended before the object was complete."""
        if self._file is not None:
            self._file.discard()
            self._file = None

    def _without_foreign_elements(self, file: IncomingFile) -> IncomingFile:
        """Return the file, written anew if its data set begins with elements that do not belong to it."""
        with file.content() as content:
            start = begin_of_data_set(content, file.start, self._transfer_syntax)
            if start == file.start:
                return file
            kept = self._storage.create_file(self._request, self._context, self._association.calling_ae)
            self._file = kept
            try:
                for at in range(start, len(content), COPIED_BYTES):
                    kept.write(memoryview(bytes(content[at : at + COPIED_BYTES])))
            finally:
                file.discard()
        log.info(
            "%d bytes of groups 0000 and 0002 before a data set from %s are not kept",
            start - file.start,
            self._association.calling_ae,
        )
        return kept

    def _header(self, file: IncomingFile) -> Header:
        if self._header_ahead is not None and file.size - file.start == self._header_ahead[1]:
            return self._header_ahead[0]
        request = self._request
        with file.content() as content:
            return read_header(
                content, file.start, self._transfer_syntax, request.sop_class_uid, request.sop_instance_uid
            )

    @contextmanager
    def _recording_failure(self) -> Iterator[None]:
        """Record an exception of the block instead of raising it: every request must get a response."""
        try:
            yield
        except NodeError as error:
            self._fail(error)
        except Exception:  # the edge: a defect of ours must not end the association
            log.exception("an object from %s could not be stored", self._association.calling_ae)
            self._fail(NodeError("internal error, see the log of the node", status=StoreStatus.INTERNAL))

    def _fail(self, error: NodeError) -> None:
        self._failure = error.status or StoreStatus.INTERNAL, str(error)
        self.discard()
        log.warning("an object from %s was refused: %s", self._association.calling_ae, error)
        if isinstance(error, ObjectError):
            self._storage.refusals.record(self._association, error.code, str(error))


def _require_class_of_context(request: dimse.Request, context: AnsweredContext) -> None:
    """Refuse an object of another SOP class than its presentation context was accepted for (PS3.7 9.1.1.1.9)."""
    if request.sop_class_uid != context.abstract_syntax:
        sentence = "the SOP class of the C-STORE command is not that of its presentation context"
        raise ObjectError(Reason.UID_MISMATCH, sentence, StoreStatus.CLASS_NOT_NEGOTIATED)
