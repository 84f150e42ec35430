"""One association as its acceptor (PS3.8 9.2): request, acceptance or rejection, messages, release or abort.

Each runs in a thread of its own, strictly in turn: asynchronous operations are not negotiated.
"""

import logging
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import uuid4

from node.dicom import pdu
from node.dicom.association_request import AssociationRequest, calling_title, decode_association_request
from node.dicom.negotiation import AnsweredContext, encode_acceptance, negotiate
from node.dicom.pdu import PduStream, ProtocolError, fragments
from node.dicom.stream import ConnectionEndedError, SocketStream
from node.errors import NodeError
from node.ledger import Ledger
from node.records.instances import Association, Ending
from node.records.states import Reason
from node.scp.admission import AdmissionPolicy, Rejection
from node.scp.association_end import AssociationEnd, finding
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
    accepted_syntaxes: Mapping[str, Sequence[str]]
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
        self._calling_ae = ""
        self.established = False

    def run(self) -> None:
        """Serve until the association has ended; never raises."""
        try:
            request = self._read_request()
            if request is not None:
                self._admit(request)
        except ConnectionEndedError as error:
            log.info("the connection from %s ended before an association was established: %s", self._host, error)
        except ProtocolError as error:
            self._refuse(error)
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
        self._calling_ae = calling_title(bytes(body))
        return decode_association_request(bytes(body))

    def _refuse(self, fault: ProtocolError) -> None:
        """Abort a connection that asked for no association that can be read, and record why."""
        log.warning("the connection from %s was aborted because of %s", self._host, fault)
        sentence = f"the connection was aborted because of {fault}"
        self._context.refusals.record(self._association(self._calling_ae, ""), Reason.PROTOCOL_FAULT, sentence)
        self._stream.send_last(pdu.abort(2, fault.reason), CLOSE_SECONDS)

    def _association(self, calling_ae: str, called_ae: str) -> Association:
        context = self._context
        return Association(
            uuid4().hex, context.receiver, calling_ae[:16], called_ae[:16], self._host, context.ledger.now()
        )

    def _admit(self, request: AssociationRequest) -> None:
        """Reject the request, or serve the association and record its end."""
        context = self._context
        association = self._association(request.calling_ae, request.called_ae)
        slot = context.admission.admit(request, self._host, self._local_host)
        if isinstance(slot, Rejection):
            context.refusals.record(association, slot.code, slot.sentence)
            self._stream.send_last(pdu.reject(slot.result, slot.source, slot.diagnostic), CLOSE_SECONDS)
            return
        in_callers_order = context.intake.transfer_syntax == "sender"
        answers = negotiate(request, context.accepted_syntaxes, callers_order=in_callers_order)
        accepted = {number: answer for number, answer in answers.items() if answer.is_accepted}
        exchange = MessageExchange(context.services, association, accepted, request.max_pdu_length)
        end = AssociationEnd(Ending.LOST, "an internal error, see the log of the node")
        try:
            end = self._serve(request, answers, exchange)
        finally:
            self.established = False
            context.release_slot(slot)
            exchange.discard()
            self._record_end(association, end.ending)
            found = finding(end, answers.values(), exchange.responses, exchange.stored_classes)
            if found is not None:
                context.refusals.record(association, *found)

    def _serve(
        self, request: AssociationRequest, answers: Mapping[int, AnsweredContext], exchange: MessageExchange
    ) -> AssociationEnd:
        """Accept the association and serve its messages; return how it ended."""
        intake = self._context.intake
        self._pdus.set_max_length(intake.maximum_pdu_size)
        self._stream.set_timeout(intake.network_timeout_seconds)
        self._pdus.write(encode_acceptance(request, answers, intake.maximum_pdu_size))
        self.established = True
        try:
            return AssociationEnd(self._exchange_messages(exchange))
        except ConnectionEndedError as error:
            log.info("the association with %s at %s was lost: %s", request.calling_ae, self._host, error)
            return AssociationEnd(Ending.LOST, str(error))
        except ProtocolError as error:
            log.warning(
                "the association with %s at %s was aborted because of %s", request.calling_ae, self._host, error
            )
            self._stream.send_last(pdu.abort(2, error.reason), CLOSE_SECONDS)
            return AssociationEnd(Ending.ABORTED, str(error), is_fault=True)

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
