"""Who may come in: the answer to an association request, by AE titles, addresses and free places (PS3.8 9.3.4)."""

import ipaddress
import socket
import time
from dataclasses import dataclass, field

from node.dicom.negotiation import APPLICATION_CONTEXT, Call
from node.records.states import Reason
from node.scp.association_slots import Slots
from node.settings.routing import Peer
from node.settings.settings import Settings

PERMANENT, TRANSIENT = 1, 2
USER, PROVIDER_ACSE, PROVIDER_PRESENTATION = 1, 2, 3
LOOKUP_SECONDS = 60.0
"""How long the address of a peer's host name is believed."""


@dataclass(frozen=True)
class Refused:
    """An association that is turned away: result, source and reason of the A-ASSOCIATE-RJ, and words for the ledger."""

    result: int
    source: int
    diagnostic: int
    sentence: str
    code: str = Reason.REJECTED_PEER


@dataclass
class Addresses:
    """The addresses of host names, looked up now and then."""

    _known: dict[str, tuple[float, frozenset[str]]] = field(default_factory=dict)

    def of(self, host: str) -> frozenset[str]:
        """Return the addresses of a host; none when its name is unknown just now."""
        at, found = self._known.get(host, (-LOOKUP_SECONDS, frozenset()))
        if time.monotonic() - at >= LOOKUP_SECONDS:
            try:
                found = frozenset(_plain(str(info[4][0])) for info in socket.getaddrinfo(host, None))
            except (OSError, UnicodeError):
                found = frozenset()
            self._known[host] = (time.monotonic(), found)
        return found


class Doorman:
    """Decides about requests; one for all associations of a process."""

    def __init__(self, settings: Settings, slots: Slots) -> None:
        self._settings = settings
        self._slots = slots
        self._addresses = Addresses()

    def admit(self, call: Call, host: str, own_host: str) -> int | Refused:
        """Return the place an association gets, or why it gets none.

        host: the caller's address; own_host: the address it reached us at.
        """
        refused = self._misdirected(call)
        if refused is not None:
            return refused
        known = [peer for peer in self._settings.peers if peer.ae_title == call.calling_ae]
        here = [peer for peer in known if _plain(host) in self._addresses.of(peer.host)]
        if not self._settings.accepts_unknown_peers and not here and not self._is_ourselves(call, host, own_host):
            return _stranger(known, call.calling_ae, host)
        most = next((peer.maximum_associations for peer in here), None)
        place = self._slots.take(f"{call.calling_ae}@{host}", most)
        if place is None:
            limit = "maximum_associations of the peer" if most is not None else "intake.maximum_associations"
            return Refused(
                TRANSIENT, PROVIDER_PRESENTATION, 2, f"it was turned away: all associations are taken ({limit})"
            )
        return place

    def _misdirected(self, call: Call) -> Refused | None:
        ours = self._settings.node.ae_title
        if not call.protocol_version & 1:
            return Refused(PERMANENT, PROVIDER_ACSE, 2, "it was turned away: it speaks another version of the protocol")
        if call.application_context != APPLICATION_CONTEXT:
            return Refused(PERMANENT, USER, 2, "it was turned away: it asks for another application context")
        if call.called_ae != ours:
            return Refused(
                PERMANENT, USER, 7, f"it was turned away: it called {call.called_ae}, but our AE title is {ours}"
            )
        return None

    def _is_ourselves(self, call: Call, host: str, own_host: str) -> bool:
        """Tell whether it is this node that verifies itself, as `up` and `status` do."""
        return call.calling_ae == self._settings.node.ae_title and _plain(host) == _plain(own_host)


def _stranger(known: list[Peer], calling_ae: str, host: str) -> Refused:
    if known:
        places = ", ".join(peer.host for peer in known)
        sentence = f"it was turned away: {calling_ae} is a peer, but at {places}, not at {host}"
    else:
        sentence = (
            "it was turned away: its AE title is not among the peers; add it there, "
            "or set intake.accept_unknown_peers = true"
        )
    return Refused(PERMANENT, USER, 3, sentence)


def _plain(host: str) -> str:
    """Return an address in its shortest form; an IPv4 address in an IPv6 one as itself."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)
