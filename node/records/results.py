"""Records of results and of their delivery to the peers."""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from node.records.as_json import json_form
from node.records.states import DeliveryState


@dataclass(frozen=True)
class Result:
    """A file a worker made; key: of the file in the store. With SOP UIDs it is a DICOM object, and is delivered."""

    kind: str
    key: str
    sha256: str
    size: int
    sop_class_uid: str = ""
    sop_uid: str = ""

    def to_dict(self, data: Path) -> dict[str, Any]:
        """Return the JSON form; data: the data folder."""
        row = json_form(self)
        return {"kind": row.pop("kind"), "path": str(data / row.pop("key"))} | row

    @property
    def name(self) -> str:
        """The file's name."""
        return PurePosixPath(self.key).name

    @property
    def suffix(self) -> str:
        """The end of the file's name, with its dot."""
        return PurePosixPath(self.key).suffix

    def fault(self, path: Path) -> str | None:
        """Tell what is wrong with the file at `path`: only what the worker recorded may be sent."""
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            return f"the result {path} cannot be read ({error.strerror}): segment the series again"
        if digest != self.sha256:
            return f"the result {path} was changed after it was made (SHA-256 differs): segment the series again"
        return None


@dataclass(frozen=True)
class Backlog:
    """What a peer has not yet been sent. Times in seconds.

    age: since the oldest of these results became due. untouched: the longest that one of them has waited for a sender,
    which is no fault of the peer; 0 if none waits. reason: of the last attempt with the oldest.
    """

    peer: str
    results: int
    age: float
    untouched: float
    reason: str


@dataclass(frozen=True)
class Delivery:
    """The delivery of one result to one peer (a row of the outbox).

    unanswered: attempts that sent it whole, or were stopped, without a response: the peer may have it.
    """

    id: int
    job_id: str
    peer: str
    state: DeliveryState
    result: Result
    attempts: int
    reason: str
    next_at: datetime
    delivered_at: datetime | None
    unanswered: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        row = json_form(self)
        result = row.pop("result")
        row.pop("job_id")
        return row | {"kind": result["kind"], "sop_uid": result["sop_uid"]}
