"""Associations as the ledger knows them, for tests that write arrivals down without a network."""

from datetime import UTC, datetime
from uuid import uuid4

from node.records.instances import Association


def association(calling_ae: str = "SCANNER", host: str = "127.0.0.1", receiver: str = "scp@test:1") -> Association:
    """Return an association of its own that has begun just now."""
    return Association(uuid4().hex, receiver, calling_ae, "QCTNODE", host, datetime.now(UTC))
