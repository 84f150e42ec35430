"""Association requests and the answers to them (PS3.8 7.1); pynetdicom encodes and decodes the PDUs."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import (
    PYNETDICOM_IMPLEMENTATION_UID,
    PYNETDICOM_IMPLEMENTATION_VERSION,
)
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import PresentationContext

from node.dicom.pdu import ASSOCIATE_RQ, HEADER, ProtocolError

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
ACCEPTED, ABSTRACT_SYNTAX_UNKNOWN, TRANSFER_SYNTAX_UNKNOWN = 0, 3, 4  # PS3.8 table 9-18


@dataclass(frozen=True)
class AssociationRequest:
    """An association request. contexts: those proposed; max_pdu_length: of the PDUs we may send, 0 = no limit."""

    protocol_version: int
    application_context: str
    called_ae: str
    calling_ae: str
    contexts: tuple[PresentationContext, ...]
    max_pdu_length: int


def decode_association_request(body: bytes) -> AssociationRequest:
    """Decode the body of an A-ASSOCIATE-RQ PDU. Raises ProtocolError."""
    try:
        pdu = A_ASSOCIATE_RQ()
        pdu.decode(HEADER.pack(ASSOCIATE_RQ, len(body)) + body)
        asked = pdu.to_primitive()
        contexts = tuple(asked.presentation_context_definition_list)
        if any(context.abstract_syntax is None for context in contexts):
            raise ValueError("a presentation context without an abstract syntax")
        return AssociationRequest(
            protocol_version=pdu.protocol_version,
            application_context=str(asked.application_context_name),
            called_ae=_printable(str(asked.called_ae_title)),
            calling_ae=_printable(str(asked.calling_ae_title)),
            contexts=contexts,
            max_pdu_length=int(asked.maximum_length_received or 0),
        )
    except Exception as error:
        # pynetdicom raises nearly any exception on malformed bytes.
        raise ProtocolError(f"an association request that cannot be decoded ({type(error).__name__})", 6) from error


def _printable(title: str) -> str:
    """Return an AE title that is safe in a log: without padding and control characters."""
    return "".join(c for c in title if c.isprintable()).strip()


def negotiate(
    request: AssociationRequest, accepted_syntaxes: Mapping[str, Collection[str]]
) -> dict[int, PresentationContext]:
    """Answer each proposed context by its id (PS3.8 9.3.3.2): accept the first of its transfer syntaxes that we accept.

    accepted_syntaxes: the transfer syntaxes of each abstract syntax we accept.
    """
    answers = {}
    for proposed in request.contexts:
        answer = PresentationContext()
        answer.context_id, answer.abstract_syntax = proposed.context_id, proposed.abstract_syntax
        # A rejected context names a transfer syntax, too, which is not significant (PS3.8 9.3.3.2).
        answer.transfer_syntax = [*(proposed.transfer_syntax[:1] or [ImplicitVRLittleEndian])]
        supported = accepted_syntaxes.get(str(proposed.abstract_syntax))
        common = [syntax for syntax in proposed.transfer_syntax if str(syntax) in (supported or ())]
        if supported is None:
            answer.result = ABSTRACT_SYNTAX_UNKNOWN
        elif not common:
            answer.result = TRANSFER_SYNTAX_UNKNOWN
        else:
            answer.result, answer.transfer_syntax = ACCEPTED, [common[0]]
        answers[int(proposed.context_id or 0)] = answer
    return answers


def encode_acceptance(
    request: AssociationRequest, answers: Mapping[int, PresentationContext], max_pdu_length: int
) -> bytes:
    """Return the A-ASSOCIATE-AC PDU; max_pdu_length: of the PDUs the peer may send."""
    length, class_uid = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = max_pdu_length
    class_uid.implementation_class_uid = PYNETDICOM_IMPLEMENTATION_UID
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = PYNETDICOM_IMPLEMENTATION_VERSION
    acceptance = A_ASSOCIATE()
    acceptance.application_context_name = APPLICATION_CONTEXT
    acceptance.called_ae_title, acceptance.calling_ae_title = request.called_ae, request.calling_ae
    acceptance.result = 0
    acceptance.presentation_context_definition_results_list = list(answers.values())
    acceptance.user_information = [length, class_uid, version]
    pdu = A_ASSOCIATE_AC()
    pdu.from_primitive(acceptance)
    encoded: bytes = pdu.encode()
    return encoded
