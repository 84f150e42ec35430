"""The names of received files: what is written is parsed again, and other names are not taken for ours."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.files.inbox_names import TEMPORARY, digest_start, file_name, series_folder

UIDS = st.from_regex(r"[0-9]{1,10}(\.[0-9]{1,10}){0,4}", fullmatch=True)
DIGESTS = st.binary().map(lambda content: hashlib.sha256(content).hexdigest())
TOKENS = st.from_regex(r"[0-9a-f]{8,32}", fullmatch=True)


@given(UIDS, DIGESTS, TOKENS)
def test_what_is_written_is_parsed_again(sop_uid, digest, token):
    start = digest_start(file_name(sop_uid, digest, token))
    assert start is not None and len(start) == 16 and digest.startswith(start)


def test_names_of_the_first_version_are_parsed():
    assert digest_start("1.2.3-0123456789ab.dcm") == "0123456789ab"


@pytest.mark.parametrize(
    "name",
    ["", "1.2.3.dcm", "1.2.3-0123456789abcdef.dcm", "1.2.3-0123456789ABCDEF-01234567.dcm", "1.2.3-0123456789ab.dcm~",
     "notes.txt", ".1.2.3-0123456789ab.dcm.swp", f"{'1' * 65}-0123456789ab.dcm"],
)  # fmt: skip
def test_other_names_are_not_ours(name):
    assert digest_start(name) is None


def test_a_folder_is_named_by_study_and_series():
    assert series_folder("1.2", "1.2.3") == "inbox/1.2/1.2.3"
    assert not TEMPORARY.replace(".", "").isdigit(), "no study has the name of the temporary folder"
