"""Shared by the benchmarks of receiving: the cleanup at the end."""

import shutil

import pytest
from bench.receive.servers import EMPTIED


@pytest.fixture(scope="session", autouse=True)
def _remove_at_the_end():
    yield
    shutil.rmtree(EMPTIED, ignore_errors=True)
