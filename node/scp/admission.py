"""Admission: whether an association is accepted, by AE titles, addresses and free slots (PS3.8 9.3.4)."""

from dataclasses import dataclass

from node.dicom.association_request import AssociationRequest
from node.dicom.negotiation import DICOM_APPLICATION
from node.hosts import HOSTS, network_of, plain_address
from node.records.states import Reason
from node.scp.association_slots import AssociationSlots
from node.settings.routing import Peer
from node.settings.settings import Settings

PERMANENT, TRANSIENT = 1, 2
USER, PROVIDER_ACSE, PROVIDER_PRESENTATION = 1, 2, 3
RESERVED_SHARE = 4
"""One of so many associations is kept free for the peers."""
LEAST_SHARE = 4
"""Associations that any address may have, if there are so many."""


@dataclass(frozen=True)
class Rejection:
    """A rejected association: result, source and reason of the A-ASSOCIATE-RJ, and the sentence for the ledger."""

    result: int
    source: int
    diagnostic: int
    sentence: str
    code: str = Reason.REJECTED_PEER


class AdmissionPolicy:
    """Decides on association requests; one instance serves all associations of a process."""

    def __init__(self, settings: Settings, slots: AssociationSlots) -> None:
        self._settings = settings
        self._slots = slots

    def admit(self, request: AssociationRequest, host: str, own_host: str) -> int | Rejection:
        """Return the slot of an accepted association, or the rejection.

        host: the caller's address; own_host: our address that it connected to.
        """
        rejection = self._protocol_rejection(request)
        if rejection is not None:
            return rejection
        known = [peer for peer in self._settings.peers if peer.ae_title == request.calling_ae]
        here = [peer for peer in known if plain_address(host) in _addresses(peer)]
        if here or self._is_ourselves(request, host, own_host):
            limit = next((peer.maximum_associations for peer in here), None)
            slot = self._slots.acquire(f"{request.calling_ae}@{host}", limit)
            setting = "maximum_associations of the peer" if limit is not None else "intake.maximum_associations"
        elif not self._settings.accepts_unknown_peers:
            return _unknown_caller(known, request.calling_ae, host)
        else:
            share = self._settings.intake.maximum_per_address or max(self._slots.total // 2, LEAST_SHARE)
            reserved = self._slots.total // RESERVED_SHARE if self._settings.peers else 0
            slot = self._slots.acquire(network_of(host), share, leave=reserved)
            setting = "intake.maximum_per_address, or intake.maximum_associations less those kept for the peers"
        if slot is None:
            sentence = f"association rejected: all associations are in use ({setting})"
            return Rejection(TRANSIENT, PROVIDER_PRESENTATION, 2, sentence)
        return slot

    def _protocol_rejection(self, request: AssociationRequest) -> Rejection | None:
        if not request.protocol_version & 1:
            return Rejection(PERMANENT, PROVIDER_ACSE, 2, "association rejected: unsupported protocol version")
        if request.application_context != DICOM_APPLICATION:
            return Rejection(PERMANENT, USER, 2, "association rejected: unsupported application context")
        if not self._settings.answers_to(request.called_ae):
            ours = self._settings.ae_titles
            sentence = f"but ours {'is' if len(ours) == 1 else 'are'} {', '.join(ours)}"
            sentence = f"association rejected: the called AE title is {request.called_ae}, {sentence}"
            return Rejection(PERMANENT, USER, 7, sentence)
        if not request.calling_ae:
            return Rejection(PERMANENT, USER, 3, "association rejected: the calling AE title is blank")
        return None

    def _is_ourselves(self, request: AssociationRequest, host: str, own_host: str) -> bool:
        """Tell whether the caller is this node, which verifies itself in `up` and `status`."""
        return request.calling_ae == self._settings.node.ae_title and plain_address(host) == plain_address(own_host)


def _addresses(peer: Peer) -> frozenset[str]:
    """Return the addresses of a peer's host; the last ones while its name does not resolve."""
    try:
        return frozenset(plain_address(address) for address in HOSTS.of(peer.host).found)
    except UnicodeError:
        return frozenset()


def _unresolved(peer: Peer) -> bool:
    try:
        return not HOSTS.of(peer.host).resolved
    except UnicodeError:
        return False


def _unknown_caller(known: list[Peer], calling_ae: str, host: str) -> Rejection:
    unresolved = [peer.host for peer in known if _unresolved(peer)]
    if unresolved:
        sentence = (
            f"association rejected: the host name of the peer {calling_ae}, {', '.join(unresolved)}, cannot be "
            "resolved to an address; repair the name service, or set the peer's host to its address"
        )
        # It may be the peer, at an address that nobody knows at present: for good would be too much.
        return Rejection(TRANSIENT, PROVIDER_PRESENTATION, 1, sentence)
    if known:
        hosts = ", ".join(peer.host for peer in known)
        sentence = f"association rejected: the peer {calling_ae} is configured at {hosts}, but called from {host}"
    else:
        sentence = (
            "association rejected: the calling AE title is not among the peers; add it under [[peers]], "
            "or set intake.accept_unknown_peers = true"
        )
    return Rejection(PERMANENT, USER, 3, sentence)
