"""How the tests are shared among processes."""

from pathlib import Path

import pytest
import sharing

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("member", [member for members in sharing.GROUPS.values() for member in members])
def test_what_a_group_names_exists(member):
    file, _, name = member.partition("::")
    assert f"def {name}" in (TESTS / file).read_text()


def test_a_file_of_unit_tests_and_a_group_stay_together_and_other_tests_do_not():
    assert sharing.group_of("tests/unit/a/test_b.py::test_c[d]") == "unit/a/test_b.py"
    assert sharing.group_of("tests/e2e/test_ohif.py::test_c") == sharing.group_of("tests/e2e/test_page.py::test_d")
    assert sharing.group_of("tests/dicom/test_b.py::test_c") != sharing.group_of("tests/dicom/test_b.py::test_d")


def test_the_longest_begin():
    names = ["unit/test_a.py::test_b", "dicom/test_a.py::test_b", "e2e/test_up.py::test_b", "e2e/test_page.py::test_b"]
    tests = [f"tests/{name}" for name in (*names, "e2e/test_crash.py::test_b")]
    assert sorted(tests, key=sharing.place_of) == tests[::-1]
