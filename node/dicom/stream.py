"""A connection as a stream of bytes with timeouts: the only code that touches the socket, so TLS can come in here."""

import socket
import struct
import time


class ConnectionEndedError(Exception):
    """The peer closed the connection, or did not send or accept anything in time."""


class SocketStream:
    """A TCP connection. timeout: seconds that one call may wait for the peer."""

    def __init__(self, connection: socket.socket, timeout: float) -> None:
        self._connection = connection
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.set_timeout(timeout)

    @property
    def local_host(self) -> str:
        """The address of ours that the peer connected to."""
        return str(self._connection.getsockname()[0])

    def set_timeout(self, seconds: float) -> None:
        """Set how long to wait for the peer."""
        self.timeout = seconds
        # The kernel's own timeouts: Python's make the socket non-blocking and cost a poll before each call.
        whole, microseconds = divmod(max(round(seconds * 1e6), 1), 1_000_000)  # zero means no timeout
        timeout = struct.pack("@ll", whole, microseconds)
        self._connection.setblocking(True)
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)

    def recv_into(self, view: memoryview, *, wait_all: bool) -> int:
        """Read bytes into a view and return their number, at least 1. Raises ConnectionEndedError.

        wait_all: return only when the view is full, unless the timeout comes first.
        """
        flags = socket.MSG_WAITALL if wait_all else 0
        try:
            # Senders with Nagle's algorithm on wait for this acknowledgement before they send the rest of an object;
            # the kernel would delay it by 40 ms. The option is not permanent, so it is set before each read.
            self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            count = self._connection.recv_into(view, len(view), flags)
        except BlockingIOError as error:
            raise ConnectionEndedError(f"nothing received for {self.timeout:g} s") from error
        except OSError as error:
            raise ConnectionEndedError(f"connection lost ({error.strerror or error})") from error
        if count == 0:
            raise ConnectionEndedError("the peer closed the connection")
        return count

    def sendall(self, data: bytes) -> None:
        """Send bytes; the timeout applies to all of them. Raises ConnectionEndedError."""
        deadline = time.monotonic() + self.timeout
        left = memoryview(data)
        try:
            while left:
                left = left[self._connection.send(left) :]
                if left and time.monotonic() > deadline:  # a peer that reads a byte now and then
                    raise ConnectionEndedError(f"the peer read too little in {self.timeout:g} s")
        except BlockingIOError as error:
            raise ConnectionEndedError(f"the peer read nothing for {self.timeout:g} s") from error
        except OSError as error:
            raise ConnectionEndedError(f"connection lost ({error.strerror or error})") from error

    def send_last(self, data: bytes, seconds: float) -> None:
        """Send the last bytes and wait for the peer to close; never raises.

        Closing a connection with unread input resets it, and the peer could lose the last bytes.
        """
        try:
            self.sendall(data)
            self._connection.shutdown(socket.SHUT_WR)
            self.set_timeout(seconds)
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline and self._connection.recv(65536):
                pass
        except (ConnectionEndedError, OSError):
            return

    def close(self) -> None:
        """Close the connection; data already sent is still delivered."""
        self._connection.close()

    def interrupt(self) -> None:
        """End the connection from another thread: a call that waits for the peer returns with an error."""
        try:
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return
