"""Folders: their entries made durable, and removed when they become empty."""

import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make durable which entries a folder has; one that is gone needs nothing. Raises OSError."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_empty(folder: Path, top: Path) -> None:
    """Remove a folder and those above it, as far as they are empty and lie below `top`."""
    while folder != top and folder.is_relative_to(top):
        try:
            folder.rmdir()
        except FileNotFoundError:
            pass
        except OSError:  # it is not empty
            return
        folder = folder.parent
