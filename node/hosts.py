"""Addresses of host names: looked up again after a minute, and the last ones kept while a name does not resolve."""

import ipaddress
import logging
import socket
import threading
import time
from dataclasses import dataclass, field

LOOKUP_SECONDS = 60.0
"""How long a looked-up address is used without a new look-up."""
RETRY_SECONDS = 5.0
"""How long a failed look-up is not repeated."""
PATIENCE_SECONDS = 5.0
"""How long a caller waits for the name service; the look-up goes on in the background."""

IPV6_NETWORK = 64
"""Bits of an IPv6 address that tell one caller from another: a host may use any address of its network."""

log = logging.getLogger(__name__)


def plain_address(host: str) -> str:
    """Return an address in canonical form; an IPv4-mapped IPv6 address as IPv4."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def network_of(host: str) -> str:
    """Return an IPv4 address, or the network of an IPv6 address, in canonical form."""
    plain = plain_address(host)
    return str(ipaddress.ip_network(f"{plain}/{IPV6_NETWORK}", strict=False)) if ":" in plain else plain


@dataclass(frozen=True)
class Addresses:
    """The addresses of a host, in the order of the name service. resolved: False if the last look-up failed."""

    found: tuple[str, ...] = ()
    resolved: bool = False


@dataclass
class _Entry:
    addresses: Addresses = Addresses()
    due_at: float = 0.0
    lookup: threading.Thread | None = None


@dataclass
class HostAddresses:
    """Looks up host names; one instance serves all threads of a process.

    The name service has no time limit of its own, so it is asked in a thread.
    """

    _entries: dict[str, _Entry] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, host: str, patience: float = PATIENCE_SECONDS) -> Addresses:
        """Return the addresses of a host, the last known ones if its name does not resolve now. Raises UnicodeError.

        UnicodeError means a name that no name service can know. patience: seconds to wait for the name service.
        """
        try:
            ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            host.encode("idna")
        else:
            return Addresses((host,), resolved=True)
        with self._lock:
            entry = self._entries.setdefault(host, _Entry())
            if entry.lookup is None and time.monotonic() >= entry.due_at:
                entry.lookup = threading.Thread(target=self._look_up, args=(host, entry), name="name", daemon=True)
                entry.lookup.start()
            lookup = entry.lookup
        if lookup is not None:
            lookup.join(patience)
        with self._lock:
            # A look-up that still waits after this time is one that fails.
            return Addresses(entry.addresses.found, resolved=entry.addresses.resolved and entry.lookup is None)

    def _look_up(self, host: str, entry: _Entry) -> None:
        found: tuple[str, ...] = ()
        try:
            infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
            found = tuple(dict.fromkeys(str(info[4][0]) for info in infos))
        except (OSError, UnicodeError) as error:
            if entry.addresses.resolved:
                last = ", ".join(entry.addresses.found)
                log.warning(
                    "the host name %s of a peer cannot be resolved (%s): its last address is kept (%s)",
                    host,
                    error,
                    last,
                )
        with self._lock:
            if found and entry.addresses.found and not entry.addresses.resolved:
                log.info("the host name %s resolves again", host)
            entry.addresses = Addresses(found or entry.addresses.found, resolved=bool(found))
            entry.due_at = time.monotonic() + (LOOKUP_SECONDS if found else RETRY_SECONDS)
            entry.lookup = None


HOSTS = HostAddresses()
"""The look-ups of this process: what one association learnt, the next one uses."""
