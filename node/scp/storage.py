"""The Storage service: takes one object from its first fragment to the answer (PS3.4 annex B).

Success is said only when the bytes are durable under their final name and the ledger has committed the row.
"""

import logging
from pathlib import Path

from node.dicom.dimse import Request
from node.dicom.file_meta import encode_file_meta
from node.dicom.headers import header_ahead, read_header
from node.dicom.uids import require_uid
from node.errors import LedgerError, NodeError, ObjectError, StoreStatus
from node.files.disk_space import DiskSpaceGuard
from node.files.inbox import Inbox, IncomingFile
from node.ledger import Ledger
from node.records.instances import Arrival, Association, Header, Outcome
from node.records.jobs import Refusal
from node.records.states import Reason
from node.scp.group_commit import GroupCommit
from node.scp.rate_limit import RateLimit
from node.settings.settings import Settings

log = logging.getLogger(__name__)

MB = 1_000_000
ABOUT_CALLERS = frozenset({Reason.REJECTED_PEER, Reason.EMPTY_ASSOCIATION})


class Storage:
    """Takes objects into inbox and ledger; one for all associations of a process."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._ledger = ledger
        self._largest = settings.intake.maximum_object_mb * MB
        self.inbox = Inbox(settings.data)
        self._disk_space = DiskSpaceGuard(settings)
        self._group_commit = GroupCommit(ledger)
        self._rate_limit = RateLimit()

    def receive(self, association: Association, request: Request, syntax: str) -> "StoreOperation":
        """Begin to take an object."""
        return StoreOperation(self, association, request, syntax)

    def begin(self, request: Request, syntax: str, calling_ae: str) -> IncomingFile:
        """Begin the object's file. Raises NodeError when it must not or cannot be written."""
        self._disk_space.require()
        require_uid(request.sop_class_uid, "Affected SOP Class UID")
        require_uid(request.sop_instance_uid, "Affected SOP Instance UID")
        meta = encode_file_meta(request.sop_class_uid, request.sop_instance_uid, syntax, calling_ae)
        return self.inbox.draft(meta, syntax)

    def require_size(self, size: int) -> None:
        """Raise ObjectError when an object is larger than allowed."""
        if size > self._largest:
            sentence = f"the object is larger than intake.maximum_object_mb = {self._largest // MB}"
            raise ObjectError(Reason.TOO_LARGE, sentence, StoreStatus.CANNOT_UNDERSTAND)

    def record(self, arrival: Arrival) -> None:
        """Write down an object whose file is kept. Raises NodeError when it is not taken; the file is gone then."""
        try:
            outcome = self._group_commit.record(arrival)
            doubled = outcome is Outcome.DUPLICATE and not self._ledger.missing_files.replace_missing(arrival)
        except NodeError:
            self._unless_known(arrival.path)
            raise
        if doubled:
            arrival.path.unlink(missing_ok=True)
        elif outcome is Outcome.VARIANT:
            sentence = (
                f"objects of series {arrival.header.series_uid} came again with other content: "
                "they are kept beside the first ones, which are used"
            )
            self.note(arrival.association, Reason.DIFFERENT_CONTENT, sentence)

    def _unless_known(self, path: Path) -> None:
        """Remove a file the ledger did not take; when it cannot be asked, the next start of the node finds out."""
        try:
            if not self._ledger.instances.knows_file(path):
                path.unlink(missing_ok=True)
        except LedgerError:
            log.warning("%s stays: the ledger cannot be asked about it", path.name)

    def note(self, association: Association, code: str, sentence: str) -> None:
        """Write down what belongs to no series; what is about callers only as often as their address may have it."""
        if code in ABOUT_CALLERS and not self._rate_limit.allows(association.host):
            return
        try:
            self._ledger.decisions.record_refusal(Refusal(association.calling_ae, association.host, code, sentence))
        except NodeError as error:
            log.error("this could not be written down (%s): %s, from %s", error, sentence, association.calling_ae)


class StoreOperation:
    """One object on its way in. What goes wrong is told at once and answered at the end, which may never come."""

    def __init__(self, storage: Storage, association: Association, request: Request, syntax: str) -> None:
        self._storage = storage
        self._association = association
        self._request = request
        self._syntax = syntax
        self._error: NodeError | None = None
        self._draft: IncomingFile | None = None
        self._ahead: tuple[Header, int] | None = None  # the header, if the first fragment told it
        with self:
            self._draft = storage.begin(request, syntax, association.calling_ae)

    def write(self, piece: memoryview) -> None:
        """Take a fragment of the data set."""
        draft = self._draft
        if draft is None:
            return
        with self:
            if draft.size == draft.start:
                request = self._request
                self._ahead = header_ahead(piece, self._syntax, request.sop_class_uid, request.sop_instance_uid)
            draft.write(piece)
            self._storage.require_size(draft.size)

    def finish(self) -> tuple[StoreStatus, str]:
        """End the object and return the status and the comment to answer with."""
        draft = self._draft
        if draft is not None:
            with self:
                header = self._header(draft)
                kept = draft.keep(header.study_uid, header.series_uid, header.sop_uid)
                self._draft = None
                self._storage.record(
                    Arrival(header, self._syntax, kept.path, kept.digest, kept.size, self._association)
                )
        if self._error is None:
            return StoreStatus.SUCCESS, ""
        return self._error.status or StoreStatus.INTERNAL, str(self._error)

    def discard(self) -> None:
        """Throw away what there is of the object: its association broke."""
        if self._draft is not None:
            self._draft.discard()
            self._draft = None

    def _header(self, draft: IncomingFile) -> Header:
        if self._ahead is not None and draft.size - draft.start >= self._ahead[1]:
            return self._ahead[0]
        request = self._request
        with draft.content() as content:
            return read_header(content, draft.start, self._syntax, request.sop_class_uid, request.sop_instance_uid)

    def __enter__(self) -> None:
        """Begin a part of the way in which something may go wrong."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        """Remember what went wrong. The edge: it must end in an answer, not in a dead association."""
        if not isinstance(error, Exception):
            return False
        if not isinstance(error, NodeError):
            log.error("an object from %s could not be taken", self._association.calling_ae, exc_info=error)
            error = NodeError("internal error, see the log of the node", status=StoreStatus.INTERNAL)
        self._error = error
        self.discard()
        log.warning("an object from %s was refused: %s", self._association.calling_ae, error)
        if isinstance(error, ObjectError):
            self._storage.note(self._association, error.code, str(error))
        return True
