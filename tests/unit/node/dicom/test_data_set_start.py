"""Preamble, file meta information and command sets in front of a data set are recognised in every encoding."""

import struct

import pytest

from node.dicom.data_set_start import MOST_BYTES, data_set_start
from node.dicom.elements import UnusualEncodingError

JPEG = b"1.2.840.10008.1.2.4.70"
META = (
    struct.pack("<HH2sHI", 2, 0, b"UL", 4, 42)
    + struct.pack("<HH2sHI", 2, 1, b"OB", 0, 2) + b"\0\1"
    + struct.pack("<HH2sH", 2, 0x10, b"UI", len(JPEG)) + JPEG
)  # fmt: skip
FRONT = {
    "nothing": b"",
    "file meta information": META,
    "the beginning of the file": bytes(128) + b"DICM" + META,
    "a command set": struct.pack("<HHIH", 0, 0x100, 2, 1) + struct.pack("<HHII", 0, 0, 4, 10),
    "implicit file meta information": struct.pack("<HHI", 2, 0x10, len(JPEG)) + JPEG,
    "an empty element": struct.pack("<HH2sH", 2, 0x16, b"AE", 0),
}
EXPLICIT = struct.pack("<HH2sH", 8, 0x16, b"UI", 4) + b"1.2\0"
IMPLICIT = struct.pack("<HHI", 8, 0x16, 4) + b"1.2\0"
BIG = struct.pack(">HH2sH", 8, 0x16, b"UI", 4) + b"1.2\0"


@pytest.mark.parametrize("front", FRONT.values(), ids=FRONT)
@pytest.mark.parametrize(("data_set", "big"), [(EXPLICIT, False), (IMPLICIT, False), (BIG, True), (b"", False)])
@pytest.mark.parametrize("before", [0, 300])
def test_what_does_not_belong_to_the_data_set_is_skipped(front, data_set, big, before):
    content = b"m" * before + front + data_set
    assert data_set_start(content, before, big_endian=big) == before + len(front)


def test_big_endian_file_meta_information_is_skipped():
    front = struct.pack(">HH2sH", 2, 0x10, b"UI", len(JPEG)) + JPEG
    assert data_set_start(front + BIG, 0, big_endian=True) == len(front)


@pytest.mark.parametrize(
    "stream", [b"\x02\0\0\0\0\0\0\0\0\0", b"\0\0\0\0\0\0\0\0\0\0\0", b"\x02\0\x10\0\x55\x55\x04\0"]
)
def test_a_deflated_stream_may_begin_with_any_bytes(stream):
    assert data_set_start(stream, 0, deflated=True) == 0
    assert data_set_start(META + stream, 0, deflated=True) == len(META)


@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<HH2sH", 2, 0x10, b"UI", 60000) + EXPLICIT,
        struct.pack("<HH2sHI", 2, 1, b"OB", 0, 0xFFFFFFFF) + EXPLICIT,
        bytes(2 * MOST_BYTES),
    ],
    ids=["beyond the end", "undefined length", "zeros"],
)
def test_elements_without_an_end_are_an_error(content):
    with pytest.raises(UnusualEncodingError):
        data_set_start(content, 0)
