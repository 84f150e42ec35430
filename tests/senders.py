"""Associations as the ledger records them, for tests that record arrivals without a network."""

from datetime import UTC, datetime
from uuid import uuid4

from node.records.instances import Association


def association(calling_ae: str = "SCANNER", host: str = "127.0.0.1", receiver: str = "scp@test:1") -> Association:
    """Return a new association that has just begun."""
    return Association(uuid4().hex, receiver, calling_ae, "QCTNODE", host, datetime.now(UTC))
