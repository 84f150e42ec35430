"""The data folder before any work: whether this user may write there, in one sentence if not."""

import os
import pwd
from pathlib import Path

from node.errors import NodeError
from node.files.disk_space import is_read_only


def data_folder_fault(data: Path) -> str:
    """Return what keeps this user from writing to the data folder, empty if nothing does; nothing is created."""
    nearest = next(folder for folder in (data, *data.parents) if os.path.lexists(folder))
    try:
        if not nearest.is_dir():
            return f"the data folder {data} cannot be made: {nearest} is not a folder"
        if is_read_only(nearest):
            return _not_writable(data, nearest)
        for file in data.glob("ledger.sqlite3*") if nearest == data else ():
            if not os.access(file, os.R_OK | os.W_OK):
                return _not_writable(data, file)
    except OSError as error:
        return f"the data folder {data} cannot be used: {error.strerror} ({error.filename})"
    return ""


def require_data_folder(data: Path) -> None:
    """Raise NodeError unless this user may write to the data folder."""
    fault = data_folder_fault(data)
    if fault:
        raise NodeError(fault)


def _not_writable(data: Path, place: Path) -> str:
    return (
        f"the data folder {data} cannot be used: user {_name(os.geteuid())} may not write to {place}, which belongs to "
        f"{_name(place.stat().st_uid)}; start the node as that user, correct the rights, or choose another folder"
    )


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
