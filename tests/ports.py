"""Ports on loopback that stay free for the process that asked for them, beside other test processes on this machine.

A port that the kernel chose and the test closed again may be given to another connection before the server
under test listens on it. These ports are below the range the kernel chooses from, and a lock file per port keeps other
test processes away from them until this process has ended.
"""

import fcntl
import os
import random
import socket
import tempfile
from contextlib import closing
from io import TextIOWrapper
from pathlib import Path

RANGE = range(12000, 32000)  # Linux takes outgoing connections' ports from 32768 on (ip_local_port_range)
LOCKS = Path(tempfile.gettempdir()) / f"qct-test-ports-{os.getuid()}"

_held: list[TextIOWrapper] = []


def free_port() -> int:
    """Return a port without a listener that no other test process gets while this one runs."""
    LOCKS.mkdir(exist_ok=True)
    for port in random.SystemRandom().sample(RANGE, 200):
        lock = (LOCKS / str(port)).open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with closing(socket.socket()) as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            lock.close()
            continue
        _held.append(lock)
        return port
    raise OSError("no free port found")
