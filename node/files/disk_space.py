"""The free space on the disk of the data folder, and whether it is enough to receive objects."""

import os
import stat
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from node.errors import InboxError, StoreStatus
from node.files.inbox_names import INBOX, TEMPORARY
from node.settings.sections import Intake
from node.settings.settings import Settings

MB = 1_000_000


class Level(StrEnum):
    """Whether there is enough free space."""

    OK = "ok"
    WARNING = "warning"  # a person should free some
    FULL = "full"  # nothing is received until there is enough again


@dataclass(frozen=True)
class FreeSpace:
    """What is free for the node: megabytes (10^6 bytes), and inodes (None: the file system has no limit of them)."""

    free_mb: int
    free_inodes: int | None
    read_only: str = ""
    """The folder in which nothing may be written, if there is one."""


@dataclass(frozen=True)
class DiskSpaceStatus:
    """The level, and one sentence that names the limit and what to do."""

    level: Level
    sentence: str

    @property
    def full(self) -> bool:
        """Whether objects must be refused (C-STORE 0xA700, out of resources, PS3.4 B.2.3)."""
        return self.level is Level.FULL


def free_space(path: Path) -> FreeSpace:
    """Return the free space on the disk of the data folder, or of its nearest parent that exists. Raises OSError."""
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    found = os.statvfs(existing)
    # f_bavail, f_favail: without the share that is reserved for root. Some file systems (btrfs, FAT) make
    # inodes as they need them and report none at all.
    read_only = next((str(folder) for folder in (existing, *_below(path)) if is_read_only(folder)), "")
    return FreeSpace(found.f_bavail * found.f_frsize // MB, found.f_favail if found.f_files else None, read_only)


def _below(data: Path) -> list[Path]:
    return [folder for folder in (data / INBOX, data / INBOX / TEMPORARY, data / "results") if folder.is_dir()]


def is_read_only(folder: Path) -> bool:
    """Tell whether a folder, or its whole file system, is read-only; also to root, whom the rights do not stop."""
    mounted = os.statvfs(folder).f_flag & os.ST_RDONLY
    return bool(mounted) or not folder.stat().st_mode & stat.S_IWUSR or not os.access(folder, os.W_OK | os.X_OK)


def assess_disk_space(space: FreeSpace, intake: Intake) -> DiskSpaceStatus:
    """Compare the free space with the limits of `[intake]`; a limit of 0 is always met."""
    if space.read_only:
        return DiskSpaceStatus(
            Level.FULL,
            f"nothing can be written to {space.read_only}: nothing is received until its file system and its rights "
            "allow it to the user of the node",
        )
    kinds = (
        ("MB", space.free_mb, intake.min_free_mb, intake.warn_free_mb, "free_mb"),
        ("inodes (files)", space.free_inodes, intake.min_free_inodes, intake.warn_free_inodes, "free_inodes"),
    )
    for unit, free, floor, _, key in kinds:
        if free is not None and free < floor:
            return DiskSpaceStatus(
                Level.FULL,
                f"only {free} {unit} are free on the disk, below min_{key} = {floor}: "
                "nothing is received until more is free; delete files, or let [retention] remove them sooner",
            )
    for unit, free, _, mark, key in kinds:
        if free is not None and free < mark:
            return DiskSpaceStatus(
                Level.WARNING,
                f"{free} {unit} are free on the disk, below warn_{key} = {mark}: "
                "free some soon, or let [retention] remove files sooner",
            )
    inodes = "" if space.free_inodes is None else f" and {space.free_inodes} inodes"
    return DiskSpaceStatus(Level.OK, f"{space.free_mb} MB{inodes} are free on the disk")


RECHECK_SECONDS = 0.5
"""How often the free space is checked at most; a write that fails in between is answered all the same."""


class DiskSpaceGuard:
    """Refuses objects while the disk is full; one instance serves all associations of a process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._checked_at = -RECHECK_SECONDS
        self._status = assess_disk_space(free_space(settings.data), settings.intake)

    def require(self) -> None:
        """Raise InboxError (out of resources) when the free space is below the limits."""
        if time.monotonic() - self._checked_at >= RECHECK_SECONDS:
            self._status = assess_disk_space(free_space(self._settings.data), self._settings.intake)
            self._checked_at = time.monotonic()
        if self._status.full:
            raise InboxError(self._status.sentence, retry=True, status=StoreStatus.OUT_OF_RESOURCES)
