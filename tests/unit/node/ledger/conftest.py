"""Fixtures of the ledger's tests: a clock and an empty ledger."""

import shutil

import pytest
from ledger_steps import Clock

from node.ledger import Ledger


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def ledger(tmp_path, clock, empty_ledger):
    shutil.copy(empty_ledger, tmp_path)
    opened = Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite3", tmp_path, clock)
    yield opened
    opened.close()
