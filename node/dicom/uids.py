"""UID validation, before any UID becomes part of a path, and the UIDs the node must know."""

import re

from node.errors import ObjectError, StoreStatus
from node.records.states import Reason

# PS3.5 9.1: components of digits joined by dots, 64 characters at most. The standard also forbids a leading zero in a
# component; some scanners write them, and they do no harm.
UID = re.compile(r"\d+(\.\d+)*", re.ASCII)
MAX_LENGTH = 64

# CT, Enhanced CT and Legacy Converted Enhanced CT Image Storage (PS3.4 B.5)
CT_CLASSES = frozenset({"1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2"})


def valid_uid(value: str) -> bool:
    """Tell whether a value is a UID: groups of digits joined by single dots, 1 to 64 characters."""
    return len(value) <= MAX_LENGTH and UID.fullmatch(value) is not None


def require_uid(value: str, what: str) -> str:
    """Return a valid UID as it is. Raises ObjectError naming the attribute, not its (possibly hostile) value."""
    if not valid_uid(value):
        found = "it is empty" if not value else f"it has {len(value)} characters" if len(value) > MAX_LENGTH else ""
        rule = f"expected digits and dots, at most {MAX_LENGTH} characters"
        sentence = f"the {what} is not a valid UID: {rule}{found and f', but {found}'}"
        raise ObjectError(Reason.INVALID_UID, sentence, StoreStatus.CANNOT_UNDERSTAND)
    return value
