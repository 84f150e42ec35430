"""The services this node offers, by abstract syntax: the one table for negotiation and for the dispatch of commands.

A new service is one class of the shape `Service` and one entry in `service_table`.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol

from pynetdicom import AllStoragePresentationContexts

from node.dicom import dimse
from node.dicom.negotiation import AnsweredContext
from node.errors import StoreStatus
from node.records.instances import Association

VERIFICATION = "1.2.840.10008.1.1"
STORAGE_CLASSES = frozenset(str(context.abstract_syntax) for context in AllStoragePresentationContexts)
UNCOMPRESSED = (
    "1.2.840.10008.1.2.1",  # Explicit VR Little Endian
    "1.2.840.10008.1.2",  # Implicit VR Little Endian
    "1.2.840.10008.1.2.2",  # Explicit VR Big Endian
)
LOSSLESS = (
    "1.2.840.10008.1.2.1.99",  # Deflated Explicit VR Little Endian
    "1.2.840.10008.1.2.5",  # RLE
    "1.2.840.10008.1.2.4.57",  # JPEG Lossless
    "1.2.840.10008.1.2.4.70",  # JPEG Lossless, first-order prediction
    "1.2.840.10008.1.2.4.80",  # JPEG-LS Lossless
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 Lossless
    "1.2.840.10008.1.2.4.201",  # HTJ2K Lossless
    "1.2.840.10008.1.2.4.202",  # HTJ2K Lossless RPCL
)
LOSSY = (
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.4.203",  # HTJ2K
    "1.2.840.10008.1.2.4.81",  # JPEG-LS Near-Lossless
    "1.2.840.10008.1.2.4.51",  # JPEG Extended
    "1.2.840.10008.1.2.4.50",  # JPEG Baseline
)
"""Syntaxes that may lose information; the first two of them need not."""
TRANSFER_SYNTAXES = (*UNCOMPRESSED, *LOSSLESS, *LOSSY)
LOSSLESS_FIRST = (*LOSSLESS, *UNCOMPRESSED, *LOSSY)


class Operation(Protocol):
    """One request that is being served. Its methods do not raise: a failure becomes the status of the response."""

    def write(self, piece: memoryview) -> None:
        """Take a fragment of the request's data set."""

    def finish(self) -> tuple[StoreStatus, str]:
        """End the operation and return status and Error Comment of the response."""

    def discard(self) -> None:
        """Undo what has been done: the association ended before the request was complete."""


class Service(Protocol):
    """A service in the role of the SCP. command: the command field of its requests (PS3.7 E.1)."""

    command: ClassVar[int]

    @property
    def transfer_syntaxes(self) -> Sequence[str]:
        """The transfer syntaxes that are accepted, the preferred one first."""

    def begin(self, association: Association, request: dimse.Request, context: AnsweredContext) -> Operation:
        """Begin to serve a request."""


class Verification:
    """The Verification service (PS3.4 annex A): C-ECHO succeeds."""

    command: ClassVar[int] = dimse.C_ECHO_RQ
    transfer_syntaxes = UNCOMPRESSED

    def begin(self, association: Association, request: dimse.Request, context: AnsweredContext) -> Operation:
        """Begin to serve a request."""
        return _Success()


class _Success:
    """An operation without a data set that always succeeds."""

    def write(self, piece: memoryview) -> None:
        """Take a fragment; there is none."""

    def finish(self) -> tuple[StoreStatus, str]:
        """Return success."""
        return StoreStatus.SUCCESS, ""

    def discard(self) -> None:
        """Do nothing: nothing has been done."""


def service_table(storage: Service) -> dict[str, Service]:
    """Return the service of each abstract syntax this node accepts."""
    return {VERIFICATION: Verification(), **dict.fromkeys(STORAGE_CLASSES, storage)}


def accepted_syntaxes(services: Mapping[str, Service]) -> dict[str, Sequence[str]]:
    """Return the transfer syntaxes that are accepted for each abstract syntax, the preferred one first."""
    return {abstract: service.transfer_syntaxes for abstract, service in services.items()}
