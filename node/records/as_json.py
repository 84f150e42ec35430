"""The JSON form of a record."""

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any


def _row(record: Any) -> dict[str, Any]:
    return {key: _plain(value) for key, value in asdict(record).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return str(value) if isinstance(value, Path) else value
