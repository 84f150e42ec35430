"""Digests of patient attributes, with which the ledger compares identities without holding them.

The key lies beside the ledger, in a file of its own: whoever has only the ledger cannot find the values by trying.
"""

import os
import secrets
from collections.abc import Sequence
from functools import cached_property
from hashlib import blake2b
from pathlib import Path

KEY_FILE = "identity.key"
KEY_BYTES = 32
DIGEST_BYTES = 8  # enough to tell the few patients of one series apart


class IdentityDigests:
    """Turns values into digests with the key of one data folder, which is made when it is first needed."""

    def __init__(self, data: Path) -> None:
        self._path = data / KEY_FILE

    def of(self, identity: Sequence[str]) -> tuple[str, ...]:
        """Return a digest for each value; an empty one stays empty. Letter case and empty name parts do not count."""
        return tuple(
            blake2b(text.encode(), digest_size=DIGEST_BYTES, key=self._key).hexdigest() if text else ""
            for text in (value.rstrip("^= ").casefold() for value in identity)
        )

    @cached_property
    def _key(self) -> bytes:
        """The key. Of several processes that make one at the same time, the first to link its file wins."""
        if not self._path.exists():
            own = self._path.with_name(f"{KEY_FILE}.{secrets.token_hex(8)}")
            handle = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.write(handle, secrets.token_bytes(KEY_BYTES))
                os.fsync(handle)
                os.link(own, self._path)
                self._sync_folder()
            except FileExistsError:
                pass
            finally:
                os.close(handle)
                own.unlink()
        return self._path.read_bytes()

    def _sync_folder(self) -> None:
        """Keep the key over a power cut: with another one, later slices of a series would be another patient's."""
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
