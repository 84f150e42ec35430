"""The CT factory as fixtures, with a series read from it."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


def _load(name: str) -> ModuleType:
    # Test modules are no package (importlib mode), so a shared helper is loaded by its place.
    path = Path(__file__).parents[1] / f"{name}.py"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


_load("ct_factory")


@pytest.fixture(scope="session")
def ct():
    """The module ct_factory: CtSpec, write_ct, write_enhanced, ORIENTATIONS."""
    return _load("ct_factory")
