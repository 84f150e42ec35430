"""Associations as the ledger records them, for tests that record arrivals without a network."""

from datetime import UTC, datetime
from uuid import uuid4

from node.dicom.association_request import ProposedContext
from node.dicom.negotiation import AnsweredContext
from node.records.instances import Association


def association(calling_ae: str = "SCANNER", host: str = "127.0.0.1", receiver: str = "scp@test:1") -> Association:
    """Return a new association that has just begun."""
    return Association(uuid4().hex, receiver, calling_ae, "QCTNODE", host, datetime.now(UTC))


def accepted(abstract_syntax: str, transfer_syntax: str = "1.2.840.10008.1.2.1", number: int = 1) -> AnsweredContext:
    """Return an accepted presentation context."""
    return AnsweredContext(ProposedContext(number, abstract_syntax, (transfer_syntax,)), 0, transfer_syntax)
