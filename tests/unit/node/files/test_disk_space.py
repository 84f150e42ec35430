"""The room on the disk, and the marks it is held against."""

import os
from pathlib import Path

import pytest

from node.files.disk_space import FreeSpace, Level, assess_disk_space, free_space
from node.settings.sections import Intake

INTAKE = Intake(warn_free_mb=5000, min_free_mb=500, warn_free_inodes=100_000, min_free_inodes=10_000)
NO_MARKS = Intake(warn_free_mb=0, min_free_mb=0, warn_free_inodes=0, min_free_inodes=0)


@pytest.mark.parametrize(
    ("free_mb", "free_inodes", "level", "named"),
    [
        (9000, 900_000, Level.OK, "9000 MB and 900000 inodes are free"),
        (9000, None, Level.OK, "9000 MB are free"),
        (5000, 100_000, Level.OK, "5000 MB"),
        (4999, 900_000, Level.WARNING, "4999 MB are free on the disk, below warn_free_mb = 5000: free some soon"),
        (500, 900_000, Level.WARNING, "below warn_free_mb"),
        (499, 900_000, Level.FULL, "only 499 MB are free on the disk, below min_free_mb = 500: nothing is received"),
        (0, None, Level.FULL, "min_free_mb"),
        (9000, 99_999, Level.WARNING, "99999 inodes (files) are free on the disk, below warn_free_inodes = 100000"),
        (9000, 9_999, Level.FULL, "below min_free_inodes = 10000"),
        (4999, 9_999, Level.FULL, "below min_free_inodes"),  # the worse of the two is told
        (499, 99_999, Level.FULL, "below min_free_mb"),
        (4999, None, Level.WARNING, "below warn_free_mb"),
    ],
)
def test_the_worst_limit_that_is_exceeded_is_named(free_mb, free_inodes, level, named):
    found = assess_disk_space(FreeSpace(free_mb, free_inodes), INTAKE)
    assert (found.level, found.full) == (level, level is Level.FULL)
    assert named in found.sentence


def test_limits_of_zero_are_always_met():
    assert assess_disk_space(FreeSpace(0, 0), NO_MARKS).level is Level.OK


def test_the_disk_is_that_of_the_nearest_folder_that_exists(tmp_path):
    space = free_space(tmp_path / "not" / "there" / "yet")
    assert space.free_mb > 0
    truth = os.statvfs(tmp_path)
    assert (space.free_inodes is None) == (truth.f_files == 0)
    assert space.free_mb <= truth.f_blocks * truth.f_frsize // 1_000_000


@pytest.mark.skipif(not os.path.ismount("/proc"), reason="no file system without inodes here")
def test_a_file_system_that_counts_no_inodes_has_no_limit_of_them():
    assert os.statvfs("/proc").f_files == 0
    assert free_space(Path("/proc")).free_inodes is None


@pytest.mark.parametrize("folder", [".", "inbox", "inbox/tmp", "results"])
def test_a_folder_that_was_turned_read_only_is_as_bad_as_a_full_disk(tmp_path, folder):
    for name in ("inbox/tmp", "results"):
        (tmp_path / name).mkdir(parents=True)
    assert assess_disk_space(free_space(tmp_path), NO_MARKS).level is Level.OK
    (tmp_path / folder).chmod(0o500)
    try:
        found = assess_disk_space(free_space(tmp_path), NO_MARKS)
    finally:
        (tmp_path / folder).chmod(0o700)
    assert found.full
    assert found.sentence.startswith(f"nothing can be written to {(tmp_path / folder)}:")
