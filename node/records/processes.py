"""Records of the node's running processes."""

import os
import socket
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from node.records.as_json import json_form


@dataclass(frozen=True)
class Process:
    """A running part of the node, as it last reported itself; kind: scp, supervisor, worker-segment, ..."""

    name: str
    kind: str
    host: str
    pid: int
    started_at: datetime
    last_seen: datetime

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return json_form(self)


def process_name(kind: str) -> str:
    """Return the name under which this process reports itself."""
    return f"{kind}@{socket.gethostname()}:{os.getpid()}"
