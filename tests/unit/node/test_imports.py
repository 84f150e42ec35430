"""What the records and the decisions load: nothing heavy."""

import json
import pkgutil
import subprocess
import sys

import pytest

import node.decide
import node.records

HEAVY = {"sqlalchemy", "alembic", "pynetdicom", "pydicom", "celery", "kombu"}


@pytest.mark.parametrize("package", [node.records, node.decide])
def test_records_and_decisions_load_neither_sql_nor_dicom(package):
    modules = [f"{package.__name__}.{module.name}" for module in pkgutil.iter_modules(package.__path__)]
    assert len(modules) > 5
    program = f"import json, sys, {', '.join(modules)}; print(json.dumps(sorted(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not HEAVY & set(json.loads(found.stdout))
