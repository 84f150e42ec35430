"""What an association request asks for and what it gets (PS3.8 7.1); encoding and decoding are pynetdicom's."""

from collections.abc import Mapping
from dataclasses import dataclass

from pynetdicom import (
    PYNETDICOM_IMPLEMENTATION_UID,
    PYNETDICOM_IMPLEMENTATION_VERSION,
    AllStoragePresentationContexts,
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
VERIFICATION = "1.2.840.10008.1.1"
STORAGE_CLASSES = frozenset(str(context.abstract_syntax) for context in AllStoragePresentationContexts)
TRANSFER_SYNTAXES = (
    "1.2.840.10008.1.2.1",  # Explicit VR Little Endian
    "1.2.840.10008.1.2",  # Implicit VR Little Endian
    "1.2.840.10008.1.2.2",  # Explicit VR Big Endian
    "1.2.840.10008.1.2.1.99",  # Deflated Explicit VR Little Endian
    "1.2.840.10008.1.2.5",  # RLE
    "1.2.840.10008.1.2.4.50",  # JPEG Baseline
    "1.2.840.10008.1.2.4.51",  # JPEG Extended
    "1.2.840.10008.1.2.4.57",  # JPEG Lossless
    "1.2.840.10008.1.2.4.70",  # JPEG Lossless, first-order prediction
    "1.2.840.10008.1.2.4.80",  # JPEG-LS Lossless
    "1.2.840.10008.1.2.4.81",  # JPEG-LS Near-Lossless
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 Lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.4.201",  # HTJ2K Lossless
    "1.2.840.10008.1.2.4.202",  # HTJ2K Lossless RPCL
    "1.2.840.10008.1.2.4.203",  # HTJ2K
)
UNCOMPRESSED = frozenset(TRANSFER_SYNTAXES[:3])
ACCEPTED, ABSTRACT_SYNTAX_UNKNOWN, TRANSFER_SYNTAX_UNKNOWN = 0, 3, 4  # PS3.8 table 9-18


@dataclass(frozen=True)
class AssociationRequest:
    """An association request. contexts: those proposed; largest: bytes of a PDU the caller takes, 0 = any."""

    protocol_version: int
    application_context: str
    called_ae: str
    calling_ae: str
    contexts: tuple[PresentationContext, ...]
    largest: int


def decode_association_request(body: bytes) -> AssociationRequest:
    """Decode the body of an A-ASSOCIATE-RQ PDU. Raises ProtocolError."""
    try:
        pdu = A_ASSOCIATE_RQ()
        pdu.decode(HEADER.pack(ASSOCIATE_RQ, len(body)) + body)
        asked = pdu.to_primitive()
        contexts = tuple(asked.presentation_context_definition_list)
        if any(context.abstract_syntax is None for context in contexts):
            raise ValueError("a context without its abstract syntax")
        return AssociationRequest(
            protocol_version=pdu.protocol_version,
            application_context=str(asked.application_context_name),
            called_ae=_printable(str(asked.called_ae_title)),
            calling_ae=_printable(str(asked.calling_ae_title)),
            contexts=contexts,
            largest=int(asked.maximum_length_received or 0),
        )
    except Exception as error:
        # pynetdicom meets hostile bytes with nearly any exception.
        raise ProtocolError(f"an association request that cannot be read ({type(error).__name__})", 6) from error


def _printable(title: str) -> str:
    """Return an AE title that harms no log: without padding and control characters."""
    return "".join(c for c in title if c.isprintable()).strip()


def negotiate(request: AssociationRequest) -> dict[int, PresentationContext]:
    """Answer each proposed context by its id (PS3.8 9.3.3.2): the first of the caller's transfer syntaxes we take."""
    answers = {}
    for asked in request.contexts:
        answer = PresentationContext()
        answer.context_id, answer.abstract_syntax = asked.context_id, asked.abstract_syntax
        # What is rejected names a transfer syntax, too, which means nothing (PS3.8 9.3.3.2).
        answer.transfer_syntax = [*(asked.transfer_syntax[:1] or TRANSFER_SYNTAXES[1:2])]
        abstract = str(asked.abstract_syntax)
        known = [syntax for syntax in asked.transfer_syntax if _takes(abstract, str(syntax))]
        if abstract not in STORAGE_CLASSES and abstract != VERIFICATION:
            answer.result = ABSTRACT_SYNTAX_UNKNOWN
        elif not known:
            answer.result = TRANSFER_SYNTAX_UNKNOWN
        else:
            answer.result, answer.transfer_syntax = ACCEPTED, [known[0]]
        answers[int(asked.context_id or 0)] = answer
    return answers


def _takes(abstract: str, syntax: str) -> bool:
    return syntax in (UNCOMPRESSED if abstract == VERIFICATION else TRANSFER_SYNTAXES)


def encode_acceptance(request: AssociationRequest, answers: Mapping[int, PresentationContext], largest: int) -> bytes:
    """Return the A-ASSOCIATE-AC PDU; largest: bytes of a PDU that we take."""
    length, class_uid = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = largest
    class_uid.implementation_class_uid = PYNETDICOM_IMPLEMENTATION_UID
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = PYNETDICOM_IMPLEMENTATION_VERSION
    said = A_ASSOCIATE()
    said.application_context_name = APPLICATION_CONTEXT
    said.called_ae_title, said.calling_ae_title = request.called_ae, request.calling_ae
    said.result = 0
    said.presentation_context_definition_results_list = list(answers.values())
    said.user_information = [length, class_uid, version]
    pdu = A_ASSOCIATE_AC()
    pdu.from_primitive(said)
    encoded: bytes = pdu.encode()
    return encoded
