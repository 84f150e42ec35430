"""What follows the pixel data: attributes repeated there would make readers see another object than the ledger."""

import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import pytest
from pydicom.encaps import encapsulate
from raw_caller import CT, EXPLICIT, IMPLICIT

from node.dicom.headers import PYDICOM_BYTES, header_ahead, read_header
from node.errors import ObjectError, StoreStatus
from node.records.states import Reason

BIG, DEFLATED, RLE = "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"
ITEMS_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
LONG = {b"OW", b"OB", b"SQ", b"UN"}


def element(syntax, group, number, vr, value, length=None):
    order = ">" if syntax == BIG else "<"
    size = len(value) if length is None else length
    if syntax == IMPLICIT:
        return struct.pack("<HHI", group, number, size) + value
    if vr in LONG:
        return struct.pack(f"{order}HH2sHI", group, number, vr, 0, size) + value
    return struct.pack(f"{order}HH2sH", group, number, vr, size) + value


def data_set(syntax, pixels=bytes(32)):
    uids = ((8, 0x16, CT.encode() + b"\0"), (8, 0x18, b"1.2.3.4\0"), (0x20, 0xD, b"1.2\0"), (0x20, 0xE, b"1.2.3\0"))
    head = b"".join(element(syntax, group, number, b"UI", value) for group, number, value in uids)
    rows = struct.pack(">H" if syntax == BIG else "<H", 4)
    head += element(syntax, 0x28, 0x10, b"US", rows) + element(syntax, 0x28, 0x11, b"US", rows)
    if syntax == RLE:
        return head + element(syntax, 0x7FE0, 0x10, b"OB", encapsulate([pixels]) + ITEMS_END, 0xFFFFFFFF)
    return head + element(syntax, 0x7FE0, 0x10, b"OW", pixels)


def read(syntax, content):
    if syntax == DEFLATED:
        squeeze = zlib.compressobj(wbits=-15)
        content = squeeze.compress(content) + squeeze.flush()
    return read_header(content, 0, syntax, CT, "1.2.3.4")


SYNTAXES = [EXPLICIT, IMPLICIT, BIG, DEFLATED, RLE]
REPEATED = {
    "Series Instance UID": (0x20, 0xE, b"UI", b"1.2.9\0"),
    "SOP Instance UID": (8, 0x18, b"UI", b"1.2.3.4\0"),
    "a position": (0x20, 0x32, b"DS", b"1\\2\\3 "),
    "pixel data": (0x7FE0, 0x10, b"OW", bytes(32)),
}


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("repeated", REPEATED.values(), ids=REPEATED)
@pytest.mark.parametrize("between", [False, True], ids=["at once", "behind an unknown element"])
def test_attributes_repeated_behind_the_pixels_are_refused(syntax, repeated, between):
    odd = element(syntax, 0x7FE1, 0x1001, b"??", b"1234") if between else b""
    with pytest.raises(ObjectError, match="its pixel data") as refusal:
        read(syntax, data_set(syntax) + odd + element(syntax, *repeated))
    assert (refusal.value.code, refusal.value.status) == (Reason.BROKEN_OBJECT, StoreStatus.CANNOT_UNDERSTAND)


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize(
    "behind",
    [b"", b"\0", bytes(7), bytes(500), "padding", "signature"],
    ids=["nothing", "a byte", "7 zeros", "500 zeros", "padding", "signature"],
)
def test_other_bytes_may_follow_the_pixels(syntax, behind):
    """Data Set Trailing Padding (PS3.10 7.2), digital signatures (PS3.3 C.12.1.1.3), and bytes that fill up."""
    if behind == "padding":
        behind = element(syntax, 0xFFFC, 0xFFFC, b"OB", bytes(600))
    elif behind == "signature":
        behind = element(syntax, 0xFFFA, 0xFFFA, b"SQ", b"")
    assert read(syntax, data_set(syntax) + behind).series_uid == "1.2.3"


def test_uids_behind_a_large_deflated_data_set_are_found(monkeypatch):
    monkeypatch.setattr("node.dicom.headers.KEPT_INFLATED", 1000)
    content = data_set(EXPLICIT, bytes(5000))
    assert read(DEFLATED, content).series_uid == "1.2.3"
    with pytest.raises(ObjectError, match="repeated behind its pixel data"):
        read(DEFLATED, content + element(EXPLICIT, 0x20, 0xE, b"UI", b"1.2.9\0"))


def test_the_length_that_is_known_ahead_ends_with_the_pixels():
    content = data_set(EXPLICIT)
    assert header_ahead(content, EXPLICIT, CT, "1.2.3.4")[1] == len(content)


def test_many_objects_that_only_pydicom_could_read_need_little_memory():
    """Sequences without an end go to pydicom, which needs 80 MB for a megabyte of empty items."""
    paths = (str(Path(__file__).parent), *sys.path)  # in a process of its own: this one's memory has holes
    code = f"import sys; sys.path[:0] = {paths!r}; import test_behind_pixels as test; print(test.growth())"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert float(out) < 150


def growth():
    """Return by how many MB the memory of this process grows when many threads read such objects at once."""
    items = element(EXPLICIT, 0x40, 0xA730, b"SQ", b"", 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 124_000
    fewer = items[: 12 + 8 * 19_000]
    peak, done = [memory()], threading.Event()

    def watch():
        while not done.wait(0.01):
            peak.append(memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    readers = [threading.Thread(target=refused, args=(odd,)) for odd in (items, fewer) * 16]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    done.set()
    watcher.join()
    assert len(items) < PYDICOM_BYTES
    return max(peak) - peak[0]


def refused(content):
    with pytest.raises(ObjectError):
        read_header(content, 0, EXPLICIT, CT, "1.2.3.4")


def memory():
    """Return the memory of this process in MB."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * 4096 / 1e6
