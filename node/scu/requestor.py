"""Opens, releases and aborts associations as the requestor, and explains rejections; C-ECHO."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydicom.uid import UID
from pynetdicom import AE, build_context
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext

from node.errors import PeerError
from node.settings.routing import Peer

VERIFICATION = UID("1.2.840.10008.1.1")
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
    with open_association(peer, calling_ae, [build_context(VERIFICATION)], timeout) as association:
        if not association.accepted_contexts:
            raise PeerError(f"{describe_peer(peer)} does not offer C-ECHO")
        status = association.send_c_echo()
        if "Status" not in status:
            raise PeerError(f"{describe_peer(peer)} did not answer C-ECHO", retry=True)
        if status.Status != 0:
            raise PeerError(f"{describe_peer(peer)} answered C-ECHO with status 0x{status.Status:04X}")


@contextmanager
def open_association(
    peer: Peer, calling_ae: str, contexts: list[PresentationContext], timeout: float
) -> Iterator[Association]:
    """Open an association; it is released at the end, or aborted after an exception. Raises PeerError."""
    ae = AE(ae_title=calling_ae)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = timeout
    try:
        association = ae.associate(peer.host, peer.port, contexts=contexts, ae_title=peer.ae_title, max_pdu=0)
    except (OSError, UnicodeError) as error:  # the host name, before any connection
        raise PeerError(f"{describe_peer(peer)} {_why_unreachable(peer)}", retry=True) from error
    if not association.is_established:
        raise _refusal(association, peer, calling_ae)
    _return_responses(association)
    try:
        yield association
        if association.is_established:
            association.release()
    finally:
        if association.is_established:
            association.abort()


def _return_responses(association: Association) -> None:
    """Put back responses that pynetdicom's reactor takes while a `send_` method waits for them.

    The reactor is paused before each request, but it may be just about to poll the queue once more. On a busy machine
    a fast peer's response is in the queue by then, in about one of a thousand requests, and would be lost.
    """

    def put_back(msg: Any, context_id: int) -> None:
        association.dimse.msg_queue.put((context_id, msg))

    association._serve_request = put_back  # type: ignore[method-assign]


def _refusal(association: Association, peer: Peer, calling_ae: str) -> PeerError:
    answer = association.acceptor.primitive
    if association.is_rejected and answer is not None:
        # Result 1 is permanent, 2 transient (PS3.8 9.3.4).
        source, why = answer.result_source or 0, answer.diagnostic or 0
        words = REJECTIONS.get((source, why), f"source {source}, reason {why}")
        sentence = words.format(calling=calling_ae, called=peer.ae_title)
        return PeerError(f"{describe_peer(peer)} rejects the association: {sentence}", retry=answer.result == 2)
    if association.rejected_contexts and not association.accepted_contexts:
        kinds = sorted({UID(str(c.abstract_syntax)).name for c in association.rejected_contexts})
        return PeerError(f"{describe_peer(peer)} accepts none of the offered SOP classes: {', '.join(kinds)}")
    return PeerError(f"{describe_peer(peer)} {_why_unreachable(peer)}", retry=True)


def _why_unreachable(peer: Peer) -> str:
    """Connect by TCP to find out why there was no association; pynetdicom only logs the reason."""
    try:
        with socket.create_connection((peer.host, peer.port), timeout=3):
            return "accepts the connection but does not answer the association request"
    except ConnectionRefusedError:
        return "refuses the connection: nothing listens there"
    except socket.gaierror:
        return "cannot be reached: its host name is unknown"
    except TimeoutError:
        return "cannot be reached: no answer to the connection"
    except UnicodeError:
        return "cannot be reached: its host name is not valid"
    except OSError as error:
        return f"cannot be reached: {error.strerror or error}"


def describe_peer(peer: Peer) -> str:
    """Return a peer's name and address for a sentence."""
    return f"{peer.name} ({peer.ae_title} at {peer.host}:{peer.port})"
