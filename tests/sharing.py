"""How several processes share the tests (`make test`): what stays together, and what begins first.

Tests of one group run in one process, one after another: because their fixtures are made once, or because tests that
compute for minutes are not to run at the same time. A file of unit tests is a group, too. Any other test runs where a
process is free. The groups below and the folders are in the order in which they begin, the longest first, so that all
processes end at about the same time.

Names of tests are looked up here because xdist's own marks have no effect with pytest 9.2.
"""

import os
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

GROUPS = {
    "network 1": (
        "e2e/test_demo.py::test_a_synthetic_patient_comes_back_as_seg",
        "e2e/test_orthanc.py",
        "e2e/test_kill.py::test_a_killed_node_with_the_vnet_delivers_one_seg",
        "e2e/test_not_a_hip.py",
        "e2e/test_report_example.py",
    ),
    "network 2": ("e2e/test_evaluation.py", "e2e/test_ablation.py", "e2e/test_train.py", "e2e/test_real_ct.py"),
    "crash": ("e2e/test_crash.py",),
    "browser": ("e2e/test_ohif.py", "e2e/test_page.py"),
    "synthetic patients": (
        "e2e/test_synthetic_series.py",
        "e2e/test_synthetic_series_options.py",
        "e2e/test_synth.py",
    ),
    "readers": ("e2e/test_seg_readers.py",),
}
FOLDERS = ("e2e", "broker", "dicom", "unit")


def group_of(test: str) -> str:
    """Return the group of a test; test: its pytest node id, `tests/FOLDER/FILE::NAME`."""
    name = test.removeprefix("tests/")
    found = [group for group, members in GROUPS.items() if name.startswith(members)]
    if found:
        return found[0]
    return name.partition("::")[0] if name.startswith("unit/") else name


def place_of(test: str) -> tuple[int, int]:
    """Return the sort key of a test: the groups in order, then the folders."""
    folder = Path(test.removeprefix("tests/")).parts[0]
    groups = [*GROUPS, group_of(test)]
    return groups.index(group_of(test)), FOLDERS.index(folder) if folder in FOLDERS else len(FOLDERS)


def configure(config: pytest.Config) -> None:
    """Prepare the process that hands out the tests."""
    if getattr(config.option, "numprocesses", None):
        config.option.loadscopereorder = False  # not the groups of many tests first, but those in front
        # NumPy and PyTorch of all child processes: threads of several processes would wait for each other.
        os.environ.setdefault("OMP_NUM_THREADS", "1")


class GroupScheduling(LoadScopeScheduling):
    """Hands out the tests group by group."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)
