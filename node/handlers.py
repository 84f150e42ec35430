"""What the SCP does at each event of an association: keep, write down, and only then answer."""

import hashlib
import logging
from weakref import WeakKeyDictionary

from pydicom import Dataset
from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE

from node.errors import Answer, NodeError, ObjectError
from node.headers import read_header
from node.inbox import Inbox
from node.ledger import Ledger, records
from node.ledger.records import Arrival, Outcome, Refusal
from node.states import Reason
from node.uids import require_uid

log = logging.getLogger(__name__)

MAX_COMMENT = 64  # Error Comment (0000,0902) is an LO
CALLED_AE_UNKNOWN = 7  # PS3.8 table 9-21, source 1


class Handlers:
    """The node's side of its associations; one object serves all of them, each in a thread of its own."""

    def __init__(self, ledger: Ledger, inbox: Inbox) -> None:
        self._ledger = ledger
        self._inbox = inbox
        self._called = "QCTNODE"
        self._carried: WeakKeyDictionary[Association, int] = WeakKeyDictionary()

    def bindings(self) -> list[evt.EventHandlerType]:
        """Return the pairs of event and handler for `AE.start_server`."""
        return [
            (evt.EVT_C_STORE, self.on_store),
            (evt.EVT_C_ECHO, self.on_echo),
            (evt.EVT_REJECTED, self.on_rejected),
            (evt.EVT_RELEASED, self.on_ended),
            (evt.EVT_ABORTED, self.on_ended),
            (evt.EVT_CONN_CLOSE, self.on_ended),
            (evt.EVT_ESTABLISHED, self.on_established),
        ]

    def on_store(self, event: evt.Event) -> Dataset:
        """Take one object: answer success only when its bytes and its row in the ledger are durable (PS3.4 B.2)."""
        self._count(event.assoc)
        try:
            self._take(event)
        except NodeError as error:
            return self._refuse(event, error)
        except Exception:
            # The edge: whatever goes wrong with one object must end in an answer, not in a dead association.
            log.exception("an object from %s could not be taken", _caller(event.assoc)[0])
            return _answer(Answer.INTERNAL, "internal error, see the log of the node")
        return _answer(Answer.SUCCESS)

    def on_echo(self, event: evt.Event) -> int:
        """Answer C-ECHO (PS3.4 A.4)."""
        self._count(event.assoc)
        return Answer.SUCCESS

    def on_established(self, event: evt.Event) -> None:
        """Begin to count what an association carries."""
        self._carried[event.assoc] = 0

    def on_ended(self, event: evt.Event) -> None:
        """Write down an association that ended without carrying anything; whoever opened it may wonder."""
        if self._carried.pop(event.assoc, 1) == 0:
            self._note(event.assoc, Reason.EMPTY_ASSOCIATION, _nothing_carried(event.assoc))

    def on_rejected(self, event: evt.Event) -> None:
        """Write down who was turned away and why."""
        asked = event.assoc.requestor.primitive
        ours = event.assoc.acceptor.ae_title.strip()
        answer = event.assoc.acceptor.primitive
        if answer is not None and answer.diagnostic == CALLED_AE_UNKNOWN and answer.result_source == 1:
            called = asked.called_ae_title if asked is not None else "nobody"
            sentence = f"it was turned away: it called {called}, but our AE title is {ours}"
        elif answer is not None and answer.result_source == 1:
            sentence = "it was turned away: its AE title is not among the peers (intake.accept_unknown_peers is false)"
        else:
            sentence = "it was turned away: all associations are taken (intake.maximum_associations)"
        self._note(event.assoc, Reason.REJECTED_PEER, sentence)

    def _take(self, event: evt.Event) -> None:
        self._inbox.require_room()
        request = event.request
        assert isinstance(request, C_STORE)
        sop_class = str(request.AffectedSOPClassUID)
        sop_uid = require_uid(str(request.AffectedSOPInstanceUID), "Affected SOP Instance UID")
        content = event.encoded_dataset()
        header = read_header(content, sop_class, sop_uid)
        kept = self._inbox.keep((header.study_uid, header.series_uid, header.sop_uid), content, _digest(event))
        calling_ae, host = _caller(event.assoc)
        syntax = str(event.context.transfer_syntax)
        association = records.Association(
            f"{id(event.assoc):032x}", "scp", calling_ae, self._called, host, self._ledger.now()
        )
        arrival = Arrival(header, syntax, kept.path, kept.digest, kept.size, association)
        if self._ledger.record_instance(arrival) is Outcome.VARIANT:
            self._inbox.discard(kept)
            sentence = "an object with this SOP Instance UID but other content is here already; the first one stays"
            raise ObjectError(Reason.DIFFERENT_CONTENT, sentence, Answer.DIFFERENT_CONTENT)

    def _refuse(self, event: evt.Event, error: NodeError) -> Dataset:
        log.warning("an object from %s was refused: %s", _caller(event.assoc)[0], error)
        if isinstance(error, ObjectError):
            self._note(event.assoc, error.code, str(error))
        return _answer(error.status or Answer.INTERNAL, str(error))

    def _note(self, association: Association, code: str, sentence: str) -> None:
        calling_ae, host = _caller(association)
        try:
            self._ledger.record_refusal(Refusal(calling_ae, host, code, sentence))
        except NodeError as error:
            log.error("a refusal could not be written down (%s): %s from %s", error, sentence, calling_ae)

    def _count(self, association: Association) -> None:
        self._carried[association] = self._carried.get(association, 0) + 1


def _answer(status: Answer, comment: str = "") -> Dataset:
    answer = Dataset()
    answer.Status = int(status)
    if comment:
        answer.ErrorComment = comment[:MAX_COMMENT]
    return answer


def _digest(event: evt.Event) -> str:
    """Return the SHA-256 of what the sender sent: transfer syntax and data set.

    The file meta information is our own and names the version of our library, so it must not tell objects apart.
    """
    sent = hashlib.sha256(str(event.context.transfer_syntax).encode())
    sent.update(event.encoded_dataset(include_meta=False))
    return sent.hexdigest()


def _caller(association: Association) -> tuple[str, str]:
    return association.requestor.ae_title.strip(), str(association.requestor.address)


def _nothing_carried(association: Association) -> str:
    if association.accepted_contexts:
        return "the association ended without carrying an object"
    kinds = sorted({UID(str(context.abstract_syntax)).name for context in association.rejected_contexts})
    return f"the association offered nothing this node takes, only: {', '.join(kinds[:5]) or 'nothing'}"
