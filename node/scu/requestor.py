"""Opens, releases and aborts associations as the requestor, and explains refusals; C-ECHO."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pydicom.uid import UID, ImplicitVRLittleEndian

from node.dicom.association_answer import (
    AssociationRejected,
    Offer,
    decode_acceptance,
    decode_rejection,
    encode_request,
)
from node.dicom.pdu import ABORT, ASSOCIATE_AC, ASSOCIATE_RJ, PDV_HEADER, PduStream, ProtocolError
from node.dicom.stream import ConnectionEndedError, SocketStream
from node.errors import PeerError
from node.scu.association import LONGEST_PDU, TOLD_LENGTH, AbortedError, Association
from node.scu.connection import connected, describe_peer
from node.scu.stop_signal import StopSignal
from node.settings.routing import Peer

VERIFICATION: Offer = ("1.2.840.10008.1.1", str(ImplicitVRLittleEndian))
PERMANENT = 1
# (source, reason) of an A-ASSOCIATE-RJ, PS3.8 table 9-21
REJECTIONS = {
    (1, 2): "it does not support the DICOM application context",
    (1, 3): "it does not know our AE title {calling}: register it there, with this machine's address",
    (1, 7): "its AE title is not {called}: correct the peer's ae_title",
    (2, 2): "it does not support our protocol version",
    (3, 1): "it is congested for the moment",
    (3, 2): "it has no association free for the moment",
}


def echo(peer: Peer, calling_ae: str, timeout: float = 10) -> None:
    """Verify that a peer answers C-ECHO. Raises PeerError."""
    with open_association(peer, calling_ae, [VERIFICATION], timeout) as association:
        try:
            status = association.echo(VERIFICATION)
        except (ConnectionEndedError, ProtocolError) as error:
            raise PeerError(f"{describe_peer(peer)} did not answer C-ECHO ({error})", retry=True) from error
        if status != 0:
            raise PeerError(f"{describe_peer(peer)} answered C-ECHO with status 0x{status:04X}")


@contextmanager
def open_association(
    peer: Peer, calling_ae: str, offers: Sequence[Offer], timeout: float, stop: StopSignal | None = None
) -> Iterator[Association]:
    """Open an association; it is released at the end, or aborted after an exception. Raises PeerError.

    timeout: seconds to connect, and for each step after that. stop: ends the association from another thread.
    """
    with connected(peer, timeout, stop or StopSignal()) as connection:
        stream = SocketStream(connection, timeout)
        association = _negotiated(stream, peer, calling_ae, offers, timeout)
        try:
            yield association
            if association.is_open:
                association.release()
        finally:
            if association.is_open:
                association.abort()


def _negotiated(
    stream: SocketStream, peer: Peer, calling_ae: str, offers: Sequence[Offer], timeout: float
) -> Association:
    """Request the association and return it. Raises PeerError."""
    pdus = PduStream(stream, LONGEST_PDU)
    began = time.monotonic()
    try:
        pdus.write(encode_request(calling_ae, peer.ae_title, offers, TOLD_LENGTH))
        kind, body = pdus.read()
        if kind == ABORT:
            raise AbortedError(bytes(body))
    except AbortedError as error:
        raise PeerError(f"{describe_peer(peer)} {error}", retry=not error.at_fault) from error
    except ConnectionEndedError as error:
        waited = time.monotonic() - began
        how = f"within {timeout:g} s" if waited >= timeout else "but ends it"
        sentence = f"accepts the connection but does not answer the association request, {how}"
        raise PeerError(f"{describe_peer(peer)} {sentence}", retry=True) from error
    except ProtocolError as error:
        raise _no_dicom(peer, str(error)) from error
    if kind == ASSOCIATE_RJ:
        raise _rejection(peer, calling_ae, decode_rejection(bytes(body)))
    if kind != ASSOCIATE_AC:
        raise _no_dicom(peer, f"a PDU of type {kind}")
    acceptance = decode_acceptance(bytes(body), offers)
    if 0 < acceptance.max_length <= PDV_HEADER.size:
        said = f"accepts PDUs of {acceptance.max_length} bytes at most, in which nothing can be sent"
        raise PeerError(f"{describe_peer(peer)} {said}: correct its maximum PDU length")
    association = Association(stream, pdus, acceptance, timeout)
    if not acceptance.contexts:
        association.release()
        kinds = sorted({UID(sop_class).name for sop_class, _ in offers})
        raise PeerError(f"{describe_peer(peer)} accepts none of the offered SOP classes: {', '.join(kinds)}")
    return association


def _no_dicom(peer: Peer, what: str) -> PeerError:
    sentence = f"answers the association request with {what}, which is no DICOM: check host and port"
    return PeerError(f"{describe_peer(peer)} {sentence}", retry=True)


def _rejection(peer: Peer, calling_ae: str, answer: AssociationRejected) -> PeerError:
    """Return the error for an A-ASSOCIATE-RJ: result 1 is permanent, 2 transient (PS3.8 9.3.4)."""
    unknown = f"source {answer.source}, reason {answer.reason}, which the standard does not know; ask its administrator"
    words = REJECTIONS.get((answer.source, answer.reason), unknown)
    sentence = words.format(calling=calling_ae, called=peer.ae_title)
    return PeerError(f"{describe_peer(peer)} rejects the association: {sentence}", retry=answer.result != PERMANENT)
