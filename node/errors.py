"""The node's one error tree: every error states the rule and the value found, without patient data."""

from enum import IntEnum


class StoreStatus(IntEnum):
    """The C-STORE statuses this node answers with (PS3.4 B.2.3, table B.2-1)."""

    SUCCESS = 0x0000
    OUT_OF_RESOURCES = 0xA700
    MISMATCH = 0xA900  # the data set does not match the SOP class or instance named in the command
    CANNOT_UNDERSTAND = 0xC000
    DIFFERENT_CONTENT = 0xC001  # the UID is taken by an object with other bytes
    INTERNAL = 0xC002  # our own fault: the sender may try again


class NodeError(Exception):
    """A known trouble; the message is one sentence a person can act on.

    retry: trying the same again later can succeed. status: the C-STORE status to answer with, if any.
    """

    def __init__(self, message: str, *, retry: bool = False, status: StoreStatus | None = None) -> None:
        super().__init__(message)
        self.retry = retry
        self.status = status


class SettingsError(NodeError):
    """The settings break rules; `faults` holds one line `key = value: rule` for each of them."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("the settings have faults:\n  " + "\n  ".join(faults))
        self.faults = faults


class LedgerError(NodeError):
    """The ledger cannot be opened or used."""


class UnknownJobError(NodeError):
    """No job has this id."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"there is no job {job_id}")


class NotAllowedError(NodeError):
    """The job's state does not allow what was asked."""


class InboxError(NodeError):
    """An arriving object cannot be kept."""


class ObjectError(NodeError):
    """An arriving object breaks a rule of DICOM, so it is not taken; `code` goes into the ledger."""

    def __init__(self, code: str, message: str, status: StoreStatus) -> None:
        super().__init__(message, status=status)
        self.code = code


class PeerError(NodeError):
    """A peer cannot be reached, or refuses us."""
