"""How much room the data folder's disk has, and whether that is enough to go on receiving."""

import os
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from node.errors import InboxError, StoreStatus
from node.settings.sections import Intake
from node.settings.settings import Settings

MB = 1_000_000


class Level(StrEnum):
    """How pressing the lack of room is."""

    OK = "ok"
    WARNING = "warning"  # a person should make room
    FULL = "full"  # nothing is received until there is room again


@dataclass(frozen=True)
class FreeSpace:
    """What is free for us: megabytes (10^6 bytes), and inodes (None: the file system has no limit of them)."""

    free_mb: int
    free_inodes: int | None


@dataclass(frozen=True)
class DiskSpaceStatus:
    """How pressing the lack of room is, and one sentence that names the mark and what to do."""

    level: Level
    sentence: str

    @property
    def full(self) -> bool:
        """Whether what arrives must be refused (C-STORE 0xA700, out of resources, PS3.4 B.2.3)."""
        return self.level is Level.FULL


def free_space(path: Path) -> FreeSpace:
    """Return the room on the disk of `path`, or of the nearest folder above it that exists. Raises OSError."""
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    found = os.statvfs(there)
    # f_bavail, f_favail: what is left without the share that is reserved for root. Some file systems (btrfs, FAT) make
    # inodes as they need them and report none at all.
    return FreeSpace(found.f_bavail * found.f_frsize // MB, found.f_favail if found.f_files else None)


def assess_disk_space(space: FreeSpace, intake: Intake) -> DiskSpaceStatus:
    """Hold the room against the marks of `[intake]`; a mark of 0 is never passed."""
    kinds = (
        ("MB", space.free_mb, intake.min_free_mb, intake.warn_free_mb, "free_mb"),
        ("inodes (files)", space.free_inodes, intake.min_free_inodes, intake.warn_free_inodes, "free_inodes"),
    )
    for unit, free, floor, _, key in kinds:
        if free is not None and free < floor:
            return DiskSpaceStatus(
                Level.FULL,
                f"only {free} {unit} are free on the disk, below min_{key} = {floor}: "
                "nothing is received until there is room; delete something, or let [retention] do it sooner",
            )
    for unit, free, _, mark, key in kinds:
        if free is not None and free < mark:
            return DiskSpaceStatus(
                Level.WARNING,
                f"{free} {unit} are free on the disk, below warn_{key} = {mark}: "
                "make room soon, or let [retention] do it sooner",
            )
    inodes = "" if space.free_inodes is None else f" and {space.free_inodes} inodes"
    return DiskSpaceStatus(Level.OK, f"{space.free_mb} MB{inodes} are free on the disk")


RECHECK_SECONDS = 0.5
"""How long a look at the free space is believed; meanwhile a write that fails is answered all the same."""


class DiskSpaceGuard:
    """Whether there is room on the disk, looked at now and then."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._checked_at = -RECHECK_SECONDS
        self._status = assess_disk_space(free_space(settings.data), settings.intake)

    def require(self) -> None:
        """Raise InboxError (out of resources) when the disk is nearly full, before anything is lost."""
        if time.monotonic() - self._checked_at >= RECHECK_SECONDS:
            self._status = assess_disk_space(free_space(self._settings.data), self._settings.intake)
            self._checked_at = time.monotonic()
        if self._status.full:
            raise InboxError(self._status.sentence, retry=True, status=StoreStatus.OUT_OF_RESOURCES)
