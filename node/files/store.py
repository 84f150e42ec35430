"""The node's files, named by keys: relative POSIX paths such as `inbox/STUDY/SERIES/name.dcm`.

Records and rows of the ledger hold keys; absolute paths are made here, where a file is opened or shown.
"""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from node.files.durable import remove_empty, sync_folder


class FileStore:
    """Files under the data folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, key: str) -> Path:
        """Return the absolute path of a key. Raises ValueError for a key that leads out of the store."""
        parts = PurePosixPath(key)
        if parts.is_absolute() or ".." in parts.parts or not parts.parts:
            raise ValueError(f"not a key of a file: {key!r}")
        return self.root / parts

    def key(self, path: Path) -> str:
        """Return the key of a path. Raises ValueError for a path outside the store."""
        return path.relative_to(self.root).as_posix()

    def exists(self, key: str) -> bool:
        """Tell whether a key names a file or folder that exists. Raises OSError when that cannot be determined."""
        try:
            self.path(key).stat()
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return False
        return True

    def remove(self, key: str) -> None:
        """Remove a file, if it exists; after a power cut it may be there again. Raises OSError."""
        self.path(key).unlink(missing_ok=True)

    def remove_durably(self, folder: str, keys: Iterable[str]) -> None:
        """Remove files of one folder so that they stay removed, and the folder when it is empty. Raises OSError."""
        for key in keys:
            self.remove(key)
        sync_folder(self.path(folder))
        remove_empty(self.path(folder), self.root / PurePosixPath(folder).parts[0])
