"""The node's processes: their kinds, their reports, and how long one may be silent."""

import os
import secrets
import socket
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from node.records.as_json import json_form

LIFE = secrets.token_hex(4)
"""Random, for this process only."""
MISSED_REPORTS = 3
"""A process that has not reported for so many heartbeats counts as dead."""


class ProcessKind(StrEnum):
    """What a process of the node does."""

    RECEIVERS = "receivers"  # starts and watches the receiving processes
    SCP = "scp"
    SUPERVISOR = "supervisor"
    SEGMENT_WORKER = "worker-segment"
    DELIVERY_WORKER = "worker-deliver"
    WEB = "web"


NEEDED_KINDS = {
    ProcessKind.SCP: "the receiver",
    ProcessKind.SUPERVISOR: "the supervisor",
    ProcessKind.SEGMENT_WORKER: "the segmenting worker",
    ProcessKind.DELIVERY_WORKER: "the delivering worker",
}
"""The kinds without which no result reaches a peer, and what to call them."""


@dataclass(frozen=True)
class Process:
    """A process of the node, as it last reported itself; kind: one of ProcessKind."""

    name: str
    kind: str
    host: str
    pid: int
    started_at: datetime
    last_seen: datetime

    def is_alive(self, now: datetime, allowed: timedelta) -> bool:
        """Tell whether its last report is no older than allowed."""
        return now - self.last_seen <= allowed

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return json_form(self)


def allowed_silence(heartbeat_seconds: float, at_least: float = 0.0) -> timedelta:
    """Return how long a process may be silent before it counts as dead; at_least: seconds."""
    return timedelta(seconds=max(at_least, MISSED_REPORTS * heartbeat_seconds))


def process_name(kind: ProcessKind) -> str:
    """Return the name under which this process reports itself.

    In a container that starts again a process has the same host name and often the same process id as in its former
    life; the random part tells the two apart.
    """
    return f"{kind}@{socket.gethostname()}:{os.getpid()}:{LIFE}"
