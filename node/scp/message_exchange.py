"""The DIMSE messages of one association (PS3.7 6.3): a command set, its data set, the response; one at a time."""

from collections.abc import Mapping

from node.dicom import dimse, pdu
from node.dicom.negotiation import AnsweredContext
from node.dicom.pdu import Fragment, ProtocolError
from node.errors import StoreStatus
from node.records.instances import Association
from node.scp.services import VERIFICATION, Operation, Service


class MessageExchange:
    """Assembles requests from fragments and has the context's service answer them.

    accepted: the accepted presentation contexts by id; max_pdu_length: of the PDUs we send, 0 = no limit. responses:
    how many requests have been answered; stored_classes: the SOP classes of the objects among them that were stored.
    """

    def __init__(
        self,
        services: Mapping[str, Service],
        association: Association,
        accepted: Mapping[int, AnsweredContext],
        max_pdu_length: int,
    ) -> None:
        self._services = services
        self._association = association
        self._accepted = accepted
        self._max_pdu_length = max_pdu_length
        self._command = bytearray()
        self._command_context: int | None = None
        self._context_id: int | None = None  # of the request that is being served
        self._request: dimse.Request | None = None
        self._operation: Operation | None = None
        self.responses = 0
        self.stored_classes: set[str] = set()

    def receive(self, fragment: Fragment) -> bytes | None:
        """Take the next fragment; return the response's PDUs when it completes a request. Raises ProtocolError."""
        context = self._accepted.get(fragment.context)
        if context is None:
            raise ProtocolError("a fragment in a presentation context that was not accepted", 6)
        if fragment.is_command:
            return self._receive_command(fragment, context)
        return self._receive_data(fragment)

    def discard(self) -> None:
        """Undo the operation that is not complete, if there is one."""
        if self._operation is not None:
            self._operation.discard()

    def _receive_command(self, fragment: Fragment, context: AnsweredContext) -> bytes | None:
        if self._command and self._command_context != fragment.context:
            raise ProtocolError("one command in two presentation contexts", 2)
        self._command_context = fragment.context
        self._command += fragment.data
        if len(self._command) > dimse.MAX_COMMAND:
            raise ProtocolError(f"a command set of more than {dimse.MAX_COMMAND} bytes")
        if not fragment.is_last:
            return None
        request = dimse.decode(bytes(self._command))
        self._command.clear()
        if request.field == dimse.C_CANCEL_RQ:  # no operation of ours can be cancelled
            return None
        if self._operation is not None:
            raise ProtocolError("a command where a data set was expected", 2)
        self._context_id = fragment.context
        return self._begin(request, context)

    def _begin(self, request: dimse.Request, context: AnsweredContext) -> bytes | None:
        # C-ECHO is answered in any context, as pynetdicom and DCMTK do.
        is_echo = request.field == dimse.C_ECHO_RQ
        service = self._services[VERIFICATION if is_echo else context.abstract_syntax]
        if request.field != service.command:
            raise ProtocolError(f"a request 0x{request.field:04X} for a service that was not negotiated")
        if request.has_data_set is not dimse.HAS_DATA_SET[request.field]:
            raise ProtocolError("a C-STORE without or a C-ECHO with a data set")
        self._request = request
        self._operation = service.begin(self._association, request, context)
        return None if request.has_data_set else self._respond(request, self._operation)

    def _receive_data(self, fragment: Fragment) -> bytes | None:
        request, operation = self._request, self._operation
        if request is None or operation is None or fragment.context != self._context_id:
            raise ProtocolError("a data set without its command", 2)
        operation.write(fragment.data)
        return self._respond(request, operation) if fragment.is_last else None

    def _respond(self, request: dimse.Request, operation: Operation) -> bytes:
        status, comment = operation.finish()
        assert self._context_id is not None
        self._request = self._operation = None
        self.responses += 1
        if request.has_data_set and status is StoreStatus.SUCCESS:
            self.stored_classes.add(request.sop_class_uid)
        return pdu.command_pdus(self._context_id, dimse.response(request, status, comment), self._max_pdu_length)
