"""The JSON form of a record."""

from dataclasses import asdict
from datetime import datetime
from typing import Any


def json_form(record: Any) -> dict[str, Any]:
    """Return the fields of a dataclass as JSON values; times as UTC, to the millisecond."""
    return {key: _json_value(value) for key, value in asdict(record).items()}


def _json_value(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return value
