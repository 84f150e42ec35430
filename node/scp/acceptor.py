"""One association as the acceptor sees it (PS3.8 9.2): request, answer, C-STORE and C-ECHO, release.

Each runs in a thread of its own. The dialogue is strictly in turn, as DICOM is without asynchronous operations.
"""

import logging
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import uuid4

from pydicom.uid import UID
from pynetdicom.presentation import PresentationContext

from node.dicom import dimse, pdu
from node.dicom.negotiation import (
    ACCEPTED,
    AssociationRequest,
    decode_association_request,
    encode_acceptance,
    negotiate,
)
from node.dicom.pdu import ConnectionEndedError, Fragment, PduStream, ProtocolError, fragments
from node.errors import NodeError, StoreStatus
from node.ledger import Ledger
from node.records.instances import Association, Ending
from node.records.states import Reason
from node.scp.admission import AdmissionPolicy, Rejection
from node.scp.storage import Storage, StoreOperation
from node.settings.settings import Settings

log = logging.getLogger(__name__)

REQUEST_SECONDS = 10.0
"""How long a connection may take to ask for an association (the ARTIM timer, PS3.8 9.1.5)."""
REQUEST_BYTES = 262_144
"""Of an association request: 128 contexts with 38 transfer syntaxes each come to 200 KB."""
PARTING_SECONDS = 1.0


@dataclass(frozen=True)
class AcceptorContext:
    """What all associations of a process share; receiver: the name the process reports itself under."""

    settings: Settings
    ledger: Ledger
    storage: Storage
    admission: AdmissionPolicy
    receiver: str
    give_back: Callable[[int], None]

    @property
    def now(self) -> datetime:
        """The ledger's time."""
        return self.ledger.now()


@dataclass
class _Dialogue:
    """Where the dialogue stands: the command that is coming in, and the object that follows it."""

    command: bytearray = field(default_factory=bytearray)
    command_context: int | None = None
    request: dimse.Request | None = None
    reception: StoreOperation | None = None


class Acceptor:
    """Serves one connection from the request to its end."""

    def __init__(self, house: AcceptorContext, connection: socket.socket, host: str) -> None:
        self._house = house
        self._host = host
        self._own_host = str(connection.getsockname()[0])
        self._connection = connection
        self._wire = PduStream(connection, REQUEST_BYTES, REQUEST_SECONDS)
        self._carried = 0
        self._dialogue = _Dialogue()
        self.established = False

    def run(self) -> None:
        """Serve until the association has ended; never raises."""
        try:
            call = self._requested()
            if call is not None:
                self._admit(call)
        except (ConnectionEndedError, ProtocolError) as error:
            log.info("a connection from %s ended before an association: %s", self._host, error)
            if isinstance(error, ProtocolError):
                self._part(pdu.abort(2, error.reason))
        except Exception:  # the edge of the thread
            log.exception("a connection from %s failed", self._host)
        finally:
            self._wire.close()

    def abort(self) -> None:
        """End the association from another thread, because the node stops."""
        self._wire.interrupt()

    def _requested(self) -> AssociationRequest | None:
        kind, body = self._wire.read()
        if kind == pdu.ABORT:
            return None
        if kind != pdu.ASSOCIATE_RQ:
            raise ProtocolError("a PDU that is no association request", 2)
        return decode_association_request(bytes(body))

    def _admit(self, call: AssociationRequest) -> None:
        association = Association(
            uuid4().hex, self._house.receiver, call.calling_ae[:16], call.called_ae[:16], self._host, self._house.now
        )
        place = self._house.admission.admit(call, self._host, self._own_host)
        if isinstance(place, Rejection):
            self._house.storage.note(association, place.code, place.sentence)
            self._part(pdu.reject(place.result, place.source, place.diagnostic))
            return
        answers = negotiate(call)
        ending = Ending.LOST
        try:
            ending = self._serve(call, association, answers)
        finally:
            self.established = False
            self._house.give_back(place)
            if self._dialogue.reception is not None:
                self._dialogue.reception.discard()
            self._ended(association, ending, answers)

    def _serve(
        self, call: AssociationRequest, association: Association, answers: dict[int, PresentationContext]
    ) -> Ending:
        """Answer the request, and then all others until the association ends."""
        intake = self._house.settings.intake
        accepted = {number: answer for number, answer in answers.items() if answer.result == ACCEPTED}
        self._wire.allow(intake.maximum_pdu_size)
        self._wire.set_timeout(intake.network_timeout_seconds)
        self._wire.write(encode_acceptance(call, answers, intake.maximum_pdu_size))
        self.established = True
        try:
            return self._talk(call, association, accepted)
        except ConnectionEndedError as error:
            log.info("the association with %s at %s was lost: %s", call.calling_ae, self._host, error)
        except ProtocolError as error:
            log.warning("the association with %s at %s was aborted: it sent %s", call.calling_ae, self._host, error)
            self._part(pdu.abort(2, error.reason))
            return Ending.ABORTED
        return Ending.LOST

    def _ended(self, association: Association, ending: Ending, answers: dict[int, PresentationContext]) -> None:
        try:
            self._house.ledger.associations.end(association.id, ending)
        except NodeError as error:
            log.error("the end of an association could not be written down: %s", error)
        if self._carried == 0:
            self._house.storage.note(association, Reason.EMPTY_ASSOCIATION, _nothing_carried(answers))

    def _talk(
        self, call: AssociationRequest, association: Association, accepted: dict[int, PresentationContext]
    ) -> Ending:
        """Answer requests until the association ends."""
        deadline = time.monotonic() + self._house.settings.intake.association_seconds
        while time.monotonic() < deadline:
            kind, body = self._wire.read()
            if kind == pdu.DATA_TF:
                for fragment in fragments(body):
                    self._take(fragment, association, accepted, call.largest)
            elif kind == pdu.RELEASE_RQ:
                self._wire.write(pdu.RELEASE_RESPONSE)
                return Ending.RELEASED
            elif kind == pdu.ABORT:
                return Ending.ABORTED
            else:
                raise ProtocolError("a PDU that has no place in an association", 2)
        raise ProtocolError("more than intake.association_seconds allows")

    def _take(
        self, fragment: Fragment, association: Association, accepted: dict[int, PresentationContext], largest: int
    ) -> None:
        context = accepted.get(fragment.context)
        if context is None:
            raise ProtocolError("something in a context that was not accepted", 6)
        if fragment.is_command:
            self._take_command(fragment)
        else:
            self._take_data(fragment)
        request = self._dialogue.request
        if request is None:
            return
        if request.has_data_set and self._dialogue.reception is None:
            self._dialogue.reception = self._begin(request, association, context)
        elif not request.has_data_set:
            self._answer(fragment.context, request, StoreStatus.SUCCESS, "", largest)
        elif fragment.is_last and not fragment.is_command:
            assert self._dialogue.reception is not None
            status, comment = self._dialogue.reception.finish()
            self._answer(fragment.context, request, status, comment, largest)

    def _take_command(self, fragment: Fragment) -> None:
        dialogue = self._dialogue
        if dialogue.request is not None:
            raise ProtocolError("a command where a data set was to come", 2)
        if dialogue.command and dialogue.command_context != fragment.context:
            raise ProtocolError("a command in two contexts", 2)
        dialogue.command_context = fragment.context
        dialogue.command += fragment.data
        if len(dialogue.command) > dimse.MAX_COMMAND:
            raise ProtocolError("a command set that is too long")
        if not fragment.is_last:
            return
        request = dimse.decode(bytes(dialogue.command))
        dialogue.command.clear()
        if request.field == dimse.C_CANCEL_RQ:
            return
        if request.field not in {dimse.C_STORE_RQ, dimse.C_ECHO_RQ}:
            raise ProtocolError(f"a request 0x{request.field:04X} for a service that was not negotiated")
        if request.has_data_set is not (request.field == dimse.C_STORE_RQ):
            raise ProtocolError("a C-STORE without or a C-ECHO with a data set")
        dialogue.request = request

    def _take_data(self, fragment: Fragment) -> None:
        dialogue = self._dialogue
        if dialogue.reception is None or fragment.context != dialogue.command_context:
            raise ProtocolError("a data set without its command", 2)
        dialogue.reception.write(fragment.data)

    def _begin(self, request: dimse.Request, association: Association, context: PresentationContext) -> StoreOperation:
        syntax = str(context.transfer_syntax[0])
        return self._house.storage.receive(association, request, syntax)

    def _answer(self, context: int, request: dimse.Request, status: StoreStatus, comment: str, largest: int) -> None:
        self._carried += 1
        self._dialogue.request = self._dialogue.reception = None
        self._wire.write(pdu.command_pdus(context, dimse.response(request, status, comment), largest))

    def _part(self, last_words: bytes) -> None:
        """Say the last words and wait for the peer to close: to close first could destroy them on their way."""
        try:
            self._wire.write(last_words)
            self._connection.shutdown(socket.SHUT_WR)
            self._wire.set_timeout(PARTING_SECONDS)
            end = time.monotonic() + PARTING_SECONDS
            while time.monotonic() < end and self._connection.recv(65536):
                pass
        except (ConnectionEndedError, OSError):
            return


def _nothing_carried(answers: dict[int, PresentationContext]) -> str:
    if any(answer.result == ACCEPTED for answer in answers.values()):
        return "the association ended without carrying an object"
    kinds = sorted({UID(str(answer.abstract_syntax)).name for answer in answers.values()})
    return f"the association offered nothing this node takes, only: {', '.join(kinds[:5]) or 'nothing'}"
