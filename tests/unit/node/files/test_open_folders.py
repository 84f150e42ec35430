"""Open folders are reused and closed, and never closed while a thread uses them."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from node.files.open_folders import OpenFolders


@pytest.fixture
def folders():
    made = OpenFolders(2)
    yield made
    made.close()


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def is_open(descriptor):
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def test_a_folder_is_made_and_opened_once(folders, tmp_path):
    path = tmp_path / "1.2" / "1.2.3"
    with folders.open(str(path)) as first:
        assert path.is_dir() and path.stat().st_mode & 0o777 == 0o700
    with folders.open(str(path)) as again:
        assert again == first


def test_the_folder_used_longest_ago_is_closed(folders, tmp_path):
    found = {}
    for name in ("a", "b", "a", "c"):
        with folders.open(str(tmp_path / name)) as descriptor:
            found[name] = descriptor
    assert [is_open(found[name]) for name in ("a", "c")] == [True, True]
    with folders.open(str(tmp_path / "a")) as again:
        assert again == found["a"]


def test_a_folder_in_use_stays_open_until_it_is_released(folders, tmp_path):
    with folders.open(str(tmp_path / "used")) as descriptor:
        for name in ("a", "b", "c"):
            with folders.open(str(tmp_path / name)):
                pass
        folders.close()
        folders.forget(str(tmp_path / "used"))
        assert is_open(descriptor)
    assert not is_open(descriptor)


def test_a_forgotten_folder_is_made_anew(folders, tmp_path):
    path = tmp_path / "a"
    with folders.open(str(path)):
        pass
    shutil.rmtree(path)
    folders.forget(str(path))
    with folders.open(str(path)) as descriptor:
        assert os.fstat(descriptor).st_ino == path.stat().st_ino


def test_many_threads_use_few_descriptors(folders, tmp_path):
    before = descriptors()

    def use(number):
        path = tmp_path / str(number % 7)
        with folders.open(str(path)) as descriptor:
            return os.fstat(descriptor).st_ino == path.stat().st_ino

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(use, range(500)))
    assert descriptors() <= before + 2
    folders.close()
    assert descriptors() <= before
