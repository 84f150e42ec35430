import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.dicom.uids import require_uid, valid_uid
from node.errors import ObjectError, StoreStatus
from node.records.states import Reason

COMPONENTS = st.lists(st.integers(0, 10**6).map(str), min_size=1, max_size=9)


@given(COMPONENTS.map(".".join))
def test_numbers_joined_by_dots_are_valid(uid):
    assert valid_uid(uid) == (len(uid) <= 64)


@given(st.text())
def test_nothing_valid_can_leave_a_folder(text):
    if valid_uid(text):
        assert set(text) <= set("0123456789.") and ".." not in text and text[0] != "." and text[-1] != "."


@pytest.mark.parametrize(
    "uid", ["", ".", "..", "1.", ".1", "1..2", "1.2\n", "1/2", "../1", "1.2.a", "١.٢", "1" * 65, "1 2"]
)
def test_everything_else_is_not(uid):
    assert not valid_uid(uid)


def test_a_leading_zero_is_tolerated_because_scanners_write_it():
    assert valid_uid("1.2.840.01")


def test_the_refusal_names_the_attribute_and_not_the_value():
    with pytest.raises(ObjectError) as failure:
        require_uid("../../etc/passwd", "Study Instance UID")
    assert (failure.value.code, failure.value.status) == (Reason.INVALID_UID, StoreStatus.CANNOT_UNDERSTAND)
    assert "Study Instance UID" in str(failure.value) and "passwd" not in str(failure.value)
    assert require_uid("1.2.3", "x") == "1.2.3"


@pytest.mark.parametrize(("uid", "found"), [("", "empty"), ("1." * 40 + "1", "81 characters")])
def test_the_refusal_says_what_was_found(uid, found):
    with pytest.raises(ObjectError, match=found):
        require_uid(uid, "SOP Instance UID")
