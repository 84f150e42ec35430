"""Which Host headers the page answers."""

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from node.web.known_hosts import KnownHosts, is_known, own_names

NAMES = own_names("", ["QCT.hospital.example."])


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LOCALHOST:8080", "127.0.0.1", "10.1.2.3:8080", "[::1]", "[::1]:8080", "[fe80::1]:80"),
        *("qct.hospital.example", "qct.hospital.example.:8080", ""),
    ],
)
def test_addresses_own_names_and_those_of_the_settings_are_known(host):
    assert is_known(host, NAMES)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example#[::1]"],
)
def test_other_names_are_not(host):
    assert not is_known(host, NAMES)


def test_a_request_under_a_foreign_name_gets_400_and_nothing_of_the_page():
    app = Starlette(routes=[Route("/", lambda request: PlainTextResponse("secret"))])
    client = TestClient(KnownHosts(app, NAMES), base_url="http://evil.example")
    answer = client.get("/")
    assert (answer.status_code, "http_names" in answer.text, "secret" in answer.text) == (400, True, False)
    assert client.get("/", headers={"Host": "localhost"}).text == "secret"
