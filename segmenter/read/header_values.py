"""Values of a header that are read one by one, whatever their form."""

from contextlib import suppress
from typing import Any

from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pydicom.multival import MultiValue

# What pydicom raises when it decodes a value that breaks its VR; it decodes on access.
INVALID_VALUE = (ValueError, TypeError, LookupError, NotImplementedError, OverflowError, BytesLengthException)


def value_of(item: Dataset, keyword: str) -> Any:
    """Return a value, None if it is absent or invalid."""
    with suppress(*INVALID_VALUE):
        return item.get(keyword)
    return None


def texts_of(item: Dataset, keyword: str) -> list[str]:
    """Return the values of an element as texts; none if it is absent, empty or invalid."""
    return as_texts(value_of(item, keyword))


def as_texts(value: Any) -> list[str]:
    """Return a value, or several, as texts without padding; empty ones are left out."""
    values = value if isinstance(value, MultiValue | list) else [value]
    return [str(part).strip("\0 ") for part in values if part not in (None, "")]
