"""Connects to a peer by TCP, within a time limit, and says why it cannot be reached."""

import logging
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from node.errors import PeerError
from node.hosts import HOSTS, Addresses
from node.scu.stop_signal import StopSignal
from node.settings.routing import Peer

log = logging.getLogger(__name__)


def describe_peer(peer: Peer) -> str:
    """Return a peer's name and address for a sentence."""
    return f"{peer.name} ({peer.ae_title} at {peer.host}:{peer.port})"


@contextmanager
def connected(peer: Peer, timeout: float, stop: StopSignal) -> Iterator[socket.socket]:
    """Connect to a peer; the connection is closed at the end. timeout: seconds in all. Raises PeerError."""
    until = time.monotonic() + timeout
    try:
        known = HOSTS.of(peer.host, timeout)
    except UnicodeError:
        raise PeerError(f"{describe_peer(peer)} cannot be reached: its host name is not valid", retry=True) from None
    if not known.found:
        raise PeerError(f"{describe_peer(peer)} cannot be reached: its host name is unknown", retry=True)
    fault = "no answer to the connection"
    for number, address in enumerate(known.found):
        share = (until - time.monotonic()) / (len(known.found) - number)
        if stop.is_set or share <= 0:
            break
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as connection, stop.watching(connection):
            connection.settimeout(share)
            try:
                connection.connect(_endpoint(address, peer.port))
            except OSError as error:
                fault = _why(error)
                continue
            yield connection
            return
    verb = "refuses the connection" if fault == NOBODY_LISTENS else "cannot be reached"
    raise PeerError(f"{describe_peer(peer)} {verb}: {fault}{_unresolved(known)}", retry=True)


NOBODY_LISTENS = "nothing listens there"


def _endpoint(address: str, port: int) -> tuple[str, int] | tuple[str, int, int, int]:
    """Return the address as the socket wants it; the zone of an IPv6 address is a number there."""
    if "%" not in address:
        return address, port
    info = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    return info[0][4]  # type: ignore[return-value]


def _why(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return NOBODY_LISTENS
    if isinstance(error, TimeoutError):
        return "no answer to the connection"
    return error.strerror or str(error)


def _unresolved(known: Addresses) -> str:
    """Say so when the address may be out of date."""
    if known.resolved:
        return ""
    return f" (its host name does not resolve at present; tried its last address {', '.join(known.found)})"
