"""An archive made by hand: it answers an association request with the bytes of a test, and stalls as the test says."""

import socket
import struct
import threading
import time
from collections.abc import Callable

from raw_caller import COMMAND_END, EXPLICIT, elements, item, p_data, pdu, pdv

from node.settings.routing import Peer

MAXIMUM_LENGTH = item(0x51, struct.pack(">I", 16384))
CLASS_UID = item(0x52, b"1.2.3.4")


class PeerEndedError(Exception):
    """The caller closed or aborted."""


class Talk:
    """One association of the caller. received: bytes of the data sets so far."""

    def __init__(self, connection: socket.socket, ended: threading.Event) -> None:
        self.connection = connection
        self.ended = ended
        self.objects: list[str] = []

    def read(self) -> tuple[int, bytes]:
        kind, length = struct.unpack(">BxI", self._exactly(6))
        return kind, self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            piece = self.connection.recv(count - len(found))
            if not piece:
                raise PeerEndedError
            found += piece
        return found

    def say(self, data: bytes) -> None:
        self.connection.sendall(data)

    def drip(self, data: bytes, pause: float = 0.2) -> None:
        """Send a byte now and then until the test ends."""
        for byte in data:
            self.say(bytes((byte,)))
            if self.ended.wait(pause):
                return

    def stall(self) -> None:
        self.ended.wait(60)

    def store_request(self) -> tuple[int, int, str]:
        """Read one C-STORE with its data set; return context, message id and SOP Instance UID."""
        command = b""
        while True:
            kind, body = self.read()
            if kind == 5:
                self.say(pdu(6, bytes(4)))
                raise PeerEndedError
            if kind != 4:
                raise PeerEndedError
            at = 0
            while at < len(body):
                length, context, control = struct.unpack_from(">IBB", body, at)
                if control & 1:
                    command += body[at + 6 : at + 4 + length]
                at += 4 + length
                if control == 2:
                    return context, *_named(command)


def _named(command: bytes) -> tuple[int, str]:
    found, at = {}, 0
    while at < len(command):
        _, element, length = struct.unpack_from("<HHI", command, at)
        found[element] = command[at + 8 : at + 8 + length]
        at += 8 + length
    return struct.unpack("<H", found[0x0110])[0], found[0x1000].decode().rstrip("\0")


def store_response(context: int, message: int, status: int = 0) -> bytes:
    values = {0x0100: 0x8001, 0x0120: message, 0x0800: 0x0101, 0x0900: status}
    return p_data(pdv(context, COMMAND_END, elements(values)))


def proposed(body: bytes) -> list[tuple[int, list[str]]]:
    """Return context id and transfer syntaxes of each proposed context of an A-ASSOCIATE-RQ."""
    found, at = [], 68
    while at < len(body):
        kind, length = struct.unpack_from(">BxH", body, at)
        content = body[at + 4 : at + 4 + length]
        at += 4 + length
        if kind == 0x20:
            syntaxes, inner = [], 4
            while inner < len(content):
                part, size = struct.unpack_from(">BxH", content, inner)
                if part == 0x40:
                    syntaxes.append(content[inner + 4 : inner + 4 + size].decode())
                inner += 4 + size
            found.append((content[0], syntaxes))
    return found


def answered(number: int, result: int, syntax: str | None) -> bytes:
    """Return the answer to one context."""
    inner = b"" if syntax is None else item(0x40, syntax.encode())
    return item(0x21, bytes((number, 0, result, 0)) + inner)


def acceptance(
    body: bytes,
    *,
    user: bytes = MAXIMUM_LENGTH + CLASS_UID,
    contexts: Callable[[int, list[str]], bytes] = lambda number, syntaxes: answered(number, 0, syntaxes[0]),
    titles: bytes | None = None,
    more: bytes = b"",
    version: int = 1,
) -> bytes:
    """Return an A-ASSOCIATE-AC to a request."""
    fixed = struct.pack(">Hxx", version) + (body[4:36] if titles is None else titles) + bytes(32)
    items = item(0x10, b"1.2.840.10008.3.1.1.1") + b"".join(contexts(*one) for one in proposed(body))
    return pdu(2, fixed + items + more + item(0x50, user))


class OddPeer:
    """Listens on a free port; `behave` is given each association with the body of its request."""

    def __init__(self, behave: Callable[[Talk, bytes], None]) -> None:
        self._behave = behave
        self._ended = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.associations = 0
        self.stored: list[str] = []
        port = self._listener.getsockname()[1]
        self.peer = Peer(name="odd", ae_title="ODD", host="127.0.0.1", port=port)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        self.associations += 1
        with connection:
            connection.settimeout(60)
            talk = Talk(connection, self._ended)
            talk.objects = self.stored
            try:
                _, body = talk.read()
                self._behave(talk, body)
            except (PeerEndedError, OSError):
                return

    def stop(self) -> None:
        if self._ended.is_set():
            return
        self._ended.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def storing(**oddities: object) -> Callable[[Talk, bytes], None]:
    """Behave well but for an odd acceptance: every object is stored."""

    def behave(talk: Talk, body: bytes) -> None:
        talk.say(acceptance(body, **oddities))
        while True:
            context, message, uid = talk.store_request()
            talk.objects.append(uid)
            talk.say(store_response(context, message))

    return behave


def objects_only(number: int, syntaxes: list[str]) -> bytes:
    """Accept Explicit VR only, in which objects are offered, not Implicit VR, in which C-FIND is."""
    return answered(number, 0 if syntaxes == [EXPLICIT] else 3, syntaxes[0])


def late(seconds: float) -> Callable[[Talk, bytes], None]:
    """Store every object and answer so many seconds later."""

    def behave(talk: Talk, body: bytes) -> None:
        talk.say(acceptance(body, contexts=objects_only))
        while True:
            context, message, uid = talk.store_request()
            talk.objects.append(uid)
            time.sleep(seconds)
            talk.say(store_response(context, message))

    return behave
