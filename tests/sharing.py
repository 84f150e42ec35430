"""How several processes share the tests (`make test`): what stays together, and what begins first.

Tests of one `xdist_group` run in one process, one after another. A file of unit tests is such a group. Other tests go
where a process is free, unless their file says otherwise: because its fixtures are made once, or because tests that
compute for minutes are not to meet. Those that take longest begin first, so that all processes end together.
"""

import os
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
FIRST = ("network 1", "network 2", "crash", "browser")  # minutes each
FOLDERS = ("e2e", "broker", "dicom", "unit")  # the longest tests first


def one_thread_each(config: pytest.Config) -> None:
    """Give every process one thread for arithmetic: threads of several that wait for each other are slow."""
    if getattr(config.option, "numprocesses", None):
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # for NumPy's and PyTorch's, and those of all child processes


def arrange(items: list[pytest.Item]) -> None:
    """Put the tests in groups and in order."""
    for item in items:
        if _folder(item) == "unit":
            item.add_marker(pytest.mark.xdist_group(item.path.relative_to(TESTS).as_posix()))
    items.sort(key=_place)


def _folder(item: pytest.Item) -> str:
    return item.path.relative_to(TESTS).parts[0]


def _place(item: pytest.Item) -> tuple[int, int]:
    """Return the sort key: the long groups, then the folders in order."""
    mark = item.get_closest_marker("xdist_group")
    long = mark is not None and mark.args[0] in FIRST
    return FIRST.index(mark.args[0]) if long else len(FIRST), FOLDERS.index(_folder(item))
