"""The node's errors: each message states the rule and the value found, without patient data."""

from enum import IntEnum


class StoreStatus(IntEnum):
    """The C-STORE statuses this node answers with (PS3.4 B.2.3, table B.2-1)."""

    SUCCESS = 0x0000
    CLASS_NOT_NEGOTIATED = 0x0122  # the SOP class is not that of the presentation context (PS3.7 9.1.1.1.9)
    OUT_OF_RESOURCES = 0xA700
    MISMATCH = 0xA900  # the data set does not match the SOP class or instance named in the command
    CANNOT_UNDERSTAND = 0xC000
    DIFFERENT_CONTENT = 0xC001  # an object with the same UID and other bytes is stored already
    INTERNAL = 0xC002  # an error of the node: the sender may try again


class NodeError(Exception):
    """A known error; its message is one sentence a person can act on.

    retry: the same operation can succeed later. status: the C-STORE status to answer with, if any.
    """

    def __init__(self, message: str, *, retry: bool = False, status: StoreStatus | None = None) -> None:
        super().__init__(message)
        self.retry = retry
        self.status = status


class SettingsError(NodeError):
    """The settings are not valid; `faults` holds one line `key = value: rule` for each error."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("the settings are not valid:\n  " + "\n  ".join(faults))
        self.faults = faults


class LedgerError(NodeError):
    """The ledger cannot be opened or used."""


class UnknownJobError(NodeError):
    """No job has this id."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"there is no job {job_id}")


class NotAllowedError(NodeError):
    """The job's state does not allow the requested action."""


class InboxError(NodeError):
    """A received object cannot be stored."""


class ObjectError(NodeError):
    """A received object breaks a rule of DICOM and is refused; `code` goes into the ledger."""

    def __init__(self, code: str, message: str, status: StoreStatus) -> None:
        super().__init__(message, status=status)
        self.code = code


class PeerError(NodeError):
    """A peer cannot be reached, or refuses the association or the object."""
