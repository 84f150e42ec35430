"""Fixtures of the unit tests."""

import pytest

from node.ledger import Ledger


@pytest.fixture(scope="session")
def empty_ledger(tmp_path_factory):
    """The file of a ledger of today's layout, made once: a copy is quicker than the migrations."""
    folder = tmp_path_factory.mktemp("empty")
    Ledger.open(f"sqlite:///{folder}/ledger.sqlite3", folder).close()
    return folder / "ledger.sqlite3"
