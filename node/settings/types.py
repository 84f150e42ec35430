"""The value types that the sections of the settings share."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
)


def valid_ae_title(value: str) -> str:
    """Return an AE title without its padding; 1 to 16 printable characters, no backslash (PS3.5 6.2)."""
    title = value.strip(" ")
    if not 1 <= len(title) <= 16:
        raise ValueError(f"an AE title has 1 to 16 characters, not {len(title)}")
    if not all(" " <= c <= "~" and c != "\\" for c in title):
        raise ValueError("an AE title holds printable ASCII without a backslash")
    return title


AETitle = Annotated[str, AfterValidator(valid_ae_title)]
Port = Annotated[int, Field(ge=1, le=65535)]
ListenPort = Annotated[int, Field(ge=0, le=65535)]
Patterns = tuple[str, ...]


def any_match(patterns: Iterable[str], value: str) -> bool:
    """Tell whether one of some shell patterns matches a whole value, upper and lower case alike."""
    return any(fnmatchcase(value.casefold(), pattern.casefold()) for pattern in patterns)


class Section(BaseModel):
    """A part of the settings: frozen, without unknown keys; attribute docstrings become docs/reference/settings.md."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
