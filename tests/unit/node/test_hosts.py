"""Addresses of host names while the name service works, fails, is slow and comes back."""

import logging
import socket
import threading
import time

import pytest

from node import hosts
from node.hosts import Addresses, HostAddresses, network_of


class NameService:
    """Stands for `socket.getaddrinfo`. found: the addresses, None: the name does not resolve."""

    def __init__(self):
        self.found = ["10.0.0.5"]
        self.asked = 0
        self.hold = threading.Event()
        self.hold.set()

    def __call__(self, _host, _port, **_options):
        self.asked += 1
        self.hold.wait(10)
        if self.found is None:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in self.found]


@pytest.fixture
def service(monkeypatch):
    made = NameService()
    monkeypatch.setattr(socket, "getaddrinfo", made)
    monkeypatch.setattr(hosts, "LOOKUP_SECONDS", 0.0)
    monkeypatch.setattr(hosts, "RETRY_SECONDS", 0.0)
    return made


def test_the_last_address_counts_while_the_name_does_not_resolve(service, caplog):
    caplog.set_level(logging.INFO)
    known = HostAddresses()
    assert known.of("ct.hospital") == Addresses(("10.0.0.5",), resolved=True)
    service.found = None
    for _ in range(3):
        assert known.of("ct.hospital") == Addresses(("10.0.0.5",), resolved=False)
    service.found = ["10.0.0.6", "10.0.0.6"]
    assert known.of("ct.hospital") == Addresses(("10.0.0.6",), resolved=True)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert "ct.hospital of a peer cannot be resolved" in told[0] and "its last address is kept (10.0.0.5)" in told[0]
    assert told[1] == "the host name ct.hospital resolves again"


def test_a_name_that_never_resolved_has_no_address(service):
    service.found = None
    assert HostAddresses().of("ct.hospital") == Addresses((), resolved=False)


def test_a_name_service_that_does_not_answer_delays_nobody_for_long(service):
    known = HostAddresses()
    known.of("ct.hospital")
    service.hold.clear()
    began = time.monotonic()
    assert known.of("ct.hospital", patience=0.1) == Addresses(("10.0.0.5",), resolved=False)
    assert known.of("ct.hospital", patience=0.1) == Addresses(("10.0.0.5",), resolved=False)
    assert time.monotonic() - began < 5
    assert service.asked == 2
    service.hold.set()


def test_a_name_is_looked_up_once_in_a_while(service, monkeypatch):
    monkeypatch.setattr(hosts, "LOOKUP_SECONDS", 60.0)
    known = HostAddresses()
    for _ in range(5):
        known.of("ct.hospital")
    assert service.asked == 1


@pytest.mark.parametrize("address", ["10.0.0.5", "::1", "fe80::1%eth0"])
def test_an_address_is_not_looked_up(service, address):
    assert HostAddresses().of(address) == Addresses((address,), resolved=True)
    assert service.asked == 0


def test_a_name_that_no_service_can_know(service):
    with pytest.raises(UnicodeError):
        HostAddresses().of("pacs..example")


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("10.0.0.7", "10.0.0.7"),
        ("::ffff:10.0.0.7", "10.0.0.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("ct.hospital", "ct.hospital"),
    ],
)
def test_a_caller_is_told_by_its_ipv6_network(host, network):
    assert network_of(host) == network
