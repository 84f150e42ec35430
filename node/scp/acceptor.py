"""One association as its acceptor (PS3.8 9.2): request, acceptance or rejection, messages, release or abort.

Each runs in a thread of its own, strictly in turn: asynchronous operations are not negotiated.
"""

import logging
import socket
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from uuid import uuid4

from pydicom.uid import UID
from pynetdicom.presentation import PresentationContext

from node.dicom import pdu
from node.dicom.negotiation import (
    ACCEPTED,
    AssociationRequest,
    decode_association_request,
    encode_acceptance,
    negotiate,
)
from node.dicom.pdu import PduStream, ProtocolError, fragments
from node.dicom.stream import ConnectionEndedError, SocketStream
from node.errors import NodeError
from node.ledger import Ledger
from node.records.instances import Association, Ending
from node.records.states import Reason
from node.scp.admission import AdmissionPolicy, Rejection
from node.scp.message_exchange import MessageExchange
from node.scp.refusals import RefusalLog
from node.scp.services import Service
from node.settings.sections import Intake

log = logging.getLogger(__name__)

REQUEST_SECONDS = 10.0
"""How long a connection may take to request an association (the ARTIM timer, PS3.8 9.1.5)."""
REQUEST_BYTES = 262_144
"""Of an association request: 128 contexts with 38 transfer syntaxes each come to 200 KB."""
CLOSE_SECONDS = 1.0
"""How long the peer may take to close the connection after a rejection or an abort."""


@dataclass(frozen=True)
class AcceptorContext:
    """What all associations of a process share; receiver: the name under which the process reports itself."""

    intake: Intake
    ledger: Ledger
    admission: AdmissionPolicy
    services: Mapping[str, Service]
    accepted_syntaxes: Mapping[str, Collection[str]]
    refusals: RefusalLog
    receiver: str
    release_slot: Callable[[int], None]


class Acceptor:
    """Serves one connection from the association request to its end."""

    def __init__(self, context: AcceptorContext, connection: socket.socket, host: str) -> None:
        self._context = context
        self._host = host
        self._stream = SocketStream(connection, REQUEST_SECONDS)
        self._local_host = self._stream.local_host
        self._pdus = PduStream(self._stream, REQUEST_BYTES)
        self.established = False

    def run(self) -> None:
        """Serve until the association has ended; never raises."""
        try:
            request = self._read_request()
            if request is not None:
                self._admit(request)
        except (ConnectionEndedError, ProtocolError) as error:
            log.info("the connection from %s ended before an association was established: %s", self._host, error)
            if isinstance(error, ProtocolError):
                self._stream.send_last(pdu.abort(2, error.reason), CLOSE_SECONDS)
        except Exception:  # the edge of the thread
            log.exception("the connection from %s failed", self._host)
        finally:
            self._stream.close()

    def abort(self) -> None:
        """End the association from another thread, because the node stops."""
        self._stream.interrupt()

    def _read_request(self) -> AssociationRequest | None:
        kind, body = self._pdus.read()
        if kind == pdu.ABORT:
            return None
        if kind != pdu.ASSOCIATE_RQ:
            raise ProtocolError("a PDU other than an association request", 2)
        return decode_association_request(bytes(body))

    def _admit(self, request: AssociationRequest) -> None:
        """Reject the request, or serve the association and record its end."""
        context = self._context
        association = Association(
            uuid4().hex,
            context.receiver,
            request.calling_ae[:16],
            request.called_ae[:16],
            self._host,
            context.ledger.now(),
        )
        slot = context.admission.admit(request, self._host, self._local_host)
        if isinstance(slot, Rejection):
            context.refusals.record(association, slot.code, slot.sentence)
            self._stream.send_last(pdu.reject(slot.result, slot.source, slot.diagnostic), CLOSE_SECONDS)
            return
        answers = negotiate(request, context.accepted_syntaxes)
        accepted = {number: answer for number, answer in answers.items() if answer.result == ACCEPTED}
        exchange = MessageExchange(context.services, association, accepted, request.max_pdu_length)
        ending = Ending.LOST
        try:
            ending = self._serve(request, answers, exchange)
        finally:
            self.established = False
            context.release_slot(slot)
            exchange.discard()
            self._record_end(association, ending)
            if exchange.responses == 0:
                context.refusals.record(association, Reason.EMPTY_ASSOCIATION, _why_empty(answers))

    def _serve(
        self, request: AssociationRequest, answers: Mapping[int, PresentationContext], exchange: MessageExchange
    ) -> Ending:
        """Accept the association and serve its messages; return how it ended."""
        intake = self._context.intake
        self._pdus.set_max_length(intake.maximum_pdu_size)
        self._stream.set_timeout(intake.network_timeout_seconds)
        self._pdus.write(encode_acceptance(request, answers, intake.maximum_pdu_size))
        self.established = True
        try:
            return self._exchange_messages(exchange)
        except ConnectionEndedError as error:
            log.info("the association with %s at %s was lost: %s", request.calling_ae, self._host, error)
        except ProtocolError as error:
            log.warning(
                "the association with %s at %s was aborted because of %s", request.calling_ae, self._host, error
            )
            self._stream.send_last(pdu.abort(2, error.reason), CLOSE_SECONDS)
            return Ending.ABORTED
        return Ending.LOST

    def _exchange_messages(self, exchange: MessageExchange) -> Ending:
        """Answer requests until the association is released or aborted."""
        deadline = time.monotonic() + self._context.intake.association_seconds
        while time.monotonic() < deadline:
            kind, body = self._pdus.read()
            if kind == pdu.DATA_TF:
                for fragment in fragments(body):
                    response = exchange.receive(fragment)
                    if response is not None:
                        self._pdus.write(response)
            elif kind == pdu.RELEASE_RQ:
                self._pdus.write(pdu.RELEASE_RESPONSE)
                return Ending.RELEASED
            elif kind == pdu.ABORT:
                return Ending.ABORTED
            else:
                raise ProtocolError("a PDU that is not allowed in an established association", 2)
        raise ProtocolError("a duration of more than intake.association_seconds")

    def _record_end(self, association: Association, ending: Ending) -> None:
        try:
            self._context.ledger.associations.end(association.id, ending)
        except NodeError as error:
            log.error("the end of an association could not be recorded: %s", error)


def _why_empty(answers: Mapping[int, PresentationContext]) -> str:
    """Return why an association carried nothing, by the answers to its presentation contexts."""
    if any(answer.result == ACCEPTED for answer in answers.values()):
        return "the association ended without a C-STORE or C-ECHO request"
    kinds = sorted({UID(str(answer.abstract_syntax)).name for answer in answers.values()})
    offered = ", ".join(kinds[:5]) or "nothing"
    return f"the association offered no SOP class that this node accepts, only: {offered}"
