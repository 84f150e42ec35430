"""Which Host headers the page answers: none that a foreign web page could have chosen (DNS rebinding).

A page of `evil.example` may let its own name point to this machine; a browser inside the hospital then reads our page
and gives it to that page. Such a request always bears the foreign name. So the page answers to addresses, to this
machine's own names, and to those of `node.http_names`; a request without the header comes from no browser.
"""

import ipaddress
import platform
import socket
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

REFUSAL = "This page does not answer to the host name of the request. Add the name to http_names under [node]."


def own_names(http_host: str, more: Collection[str]) -> frozenset[str]:
    """Return the names the page answers to: this machine's, the one it listens on, and those of the settings."""
    return frozenset(
        name.rstrip(".").lower() for name in ("localhost", platform.node(), socket.getfqdn(), http_host, *more) if name
    )


def is_known(host: str, names: Collection[str]) -> bool:
    """Tell whether a Host header, which may end with a port, is an address, one of the names, or missing."""
    name = host.rsplit(":", 1)[0] if host.rpartition(":")[2].isdigit() and not host.endswith("]") else host
    name = name.rstrip(".").lower()
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return not name or name in names
    return True


class KnownHosts:
    """Middleware: 400 for a request that names a host we do not know."""

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self._app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or pass it on."""
        known = scope["type"] != "http" or is_known(Headers(scope=scope).get("host", ""), self._names)
        await (self._app if known else PlainTextResponse(REFUSAL, 400))(scope, receive, send)
