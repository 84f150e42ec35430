"""UIDs derived from the input of a result: the same input gives the same UID."""

import hashlib
import uuid

from pydicom.uid import UID

LABELMAP_STORAGE = UID("1.2.840.10008.5.1.4.1.1.66.7")  # Label Map Segmentation Storage; pydicom 3.0 has no name for it


def derive_uid(*parts: str) -> str:
    """Return a UID under 2.25 (PS3.5 B.2: a UUID as one decimal number) derived from the ordered parts."""
    # A length before each part keeps ("ab", "c") and ("a", "bc") apart.
    text = "".join(f"{len(part)}:{part}" for part in ("qct-node", *parts))
    return f"2.25.{uuid.UUID(bytes=hashlib.sha256(text.encode()).digest()[:16], version=5).int}"
