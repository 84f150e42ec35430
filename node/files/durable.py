"""Files and folders that survive a power cut: fsync, folders made durably, empty folders removed."""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Make the content of a file, or the entries of a folder, durable. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Make the entries of a folder durable, if it still exists. Raises OSError."""
    try:
        sync(folder)
    except FileNotFoundError:
        return


def make_folder(folder: Path) -> None:
    """Create a folder and its parents durably, readable by their owner only. Raises OSError."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    sync(folder.parent)


def move_durably(path: Path, target: Path) -> None:
    """Rename a file so that a power cut leaves it under one of its two names. Raises OSError."""
    make_folder(target.parent)
    path.rename(target)
    sync(target.parent)
    sync_folder(path.parent)


def remove_empty(folder: Path, top: Path) -> None:
    """Remove a folder and those above it, as far as they are empty and below `top`."""
    while folder != top and folder.is_relative_to(top):
        try:
            folder.rmdir()
        except FileNotFoundError:
            pass
        except OSError:  # it is not empty
            return
        folder = folder.parent
