"""The page under connections that say nothing, too little, or do not read."""

import socket
import threading
import time
from contextlib import ExitStack, closing

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from node.web import limited_protocol
from node.web.limited_protocol import LimitedProtocol

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
LARGE = "x" * 30_000_000


@pytest.fixture
def port(monkeypatch):
    """A server with short deadlines and small limits."""
    for name, value in (("REQUEST_SECONDS", 1.0), ("RESPONSE_SECONDS", 1.5), ("MAX_PER_ADDRESS", 20)):
        monkeypatch.setattr(limited_protocol, name, value)
    routes = [
        Route("/", lambda request: PlainTextResponse("here")),
        Route("/large", lambda request: PlainTextResponse(LARGE)),
    ]
    config = uvicorn.Config(Starlette(routes=routes), port=0, log_config=None, http=LimitedProtocol, ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


def connect(port):
    connection = socket.create_connection(("127.0.0.1", port), 10)
    connection.settimeout(10)
    return connection


def answered(connection) -> bool:
    received = b""
    while not received.endswith(b"here"):
        piece = connection.recv(1000)
        if not piece:
            return False
        received += piece
    return True


def closed_after(connection) -> float:
    began = time.monotonic()
    try:
        while connection.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return time.monotonic() - began


@pytest.mark.parametrize("begin", [b"", b"GET / HTTP/1.1\r\nHost: lo", GET + b"GET / HTT"])
def test_a_connection_that_does_not_finish_its_request_is_closed(port, begin):
    with closing(connect(port)) as connection:
        connection.sendall(begin)
        assert closed_after(connection) < 6


def test_a_dripped_request_does_not_last_longer(port):
    with closing(connect(port)) as connection:
        began = time.monotonic()
        with pytest.raises(OSError):
            for _ in range(100):
                connection.sendall(b"G")
                time.sleep(0.1)
        assert time.monotonic() - began < 6


def test_a_response_that_nobody_reads_is_given_up(port):
    with closing(connect(port)) as connection:
        connection.sendall(GET.replace(b"/ ", b"/large ", 1))
        time.sleep(3)
        received = 0
        while piece := connection.recv(1 << 20):
            received += len(piece)
        assert received < len(LARGE)


def test_many_silent_connections_do_not_keep_others_from_an_answer(port):
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(closing(connect(port)))
        with closing(connect(port)) as connection:
            connection.sendall(GET)
            assert answered(connection)


def test_a_connection_is_used_again_for_the_next_request(port):
    with closing(connect(port)) as connection:
        for _ in range(3):
            connection.sendall(GET)
            assert answered(connection)
            time.sleep(0.7)
