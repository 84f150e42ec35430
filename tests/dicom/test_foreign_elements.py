"""Data sets that begin with elements of a file or of a command: these are dropped, and no acknowledged file is lost."""

import struct

import pytest
import raw_caller as raw
from pydicom import dcmread
from raw_caller import CT, EXPLICIT, IMPLICIT, Caller

from node.files.reconcile import Reconciled, reconcile
from node.ledger import Ledger

JPEG = "1.2.840.10008.1.2.4.70"
BIG, DEFLATED = "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"


def passed_along(syntax, *, implicit=False):
    """File meta information as some senders leave it in front of the data set, naming a transfer syntax."""
    value = syntax.encode() + b"\0" * (len(syntax) % 2)
    head = struct.pack("<HHI", 2, 0x10, len(value)) if implicit else struct.pack("<HH2sH", 2, 0x10, b"UI", len(value))
    return struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(head + value)) + head + value


FRONT = {
    "another syntax": lambda: passed_along(JPEG),
    "the other byte order": lambda: passed_along(BIG),
    "implicit": lambda: passed_along(JPEG, implicit=True),
    "the beginning of the file": lambda: bytes(128) + b"DICM" + passed_along(IMPLICIT),
    "a command set": lambda: raw.store_command("1.2.3"),
}


def lose_the_rows(node):
    """Start with an empty ledger, as after a power cut that took its last commits."""
    node.stop()
    node.ledger.close()
    for file in node.settings.data.glob("ledger.sqlite3*"):
        file.unlink()
    node.ledger = Ledger.of(node.settings)


@pytest.mark.parametrize("front", FRONT.values(), ids=FRONT)
@pytest.mark.parametrize("room", [1000, 7])
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, DEFLATED])
def test_they_are_dropped_and_the_file_survives_the_loss_of_its_row(node, ct_series, front, room, syntax):
    if syntax == DEFLATED and front in (FRONT["implicit"], FRONT["a command set"]):
        pytest.skip("they could be the beginning of the deflated stream")
    dataset = dcmread(ct_series(1)[0])
    pixels = dataset.PixelData
    dataset.file_meta.TransferSyntaxUID = syntax
    path = ct_series(1)[0].with_name("again.dcm")
    dataset.save_as(path, enforce_file_format=True, implicit_vr=syntax == IMPLICIT, little_endian=True)
    sop_uid, content = raw.data_set(path)
    with Caller(node.receiver.port).established((raw.context(1, CT, syntax),)) as caller:
        caller.send(raw.store(sop_uid, front() + content, room=room), raw.store(sop_uid, content, 2))
        assert [caller.answer().Status for _ in range(2)] == [0, 0]
    [stored] = node.stored()
    assert raw.data_set(stored) == (sop_uid, content)
    assert node.only_job().duplicates == 1
    lose_the_rows(node)
    assert reconcile(node.ledger, node.settings.data) == Reconciled(adopted=1)
    [kept] = node.stored_files(node.only_job().id)
    read = dcmread(kept)
    assert (read.file_meta.TransferSyntaxUID, read.PixelData) == (syntax, pixels)


def test_such_elements_without_an_end_are_refused_with_a_sentence(node, ct_series):
    sop_uid, content = raw.data_set(ct_series(1)[0])
    with Caller(node.receiver.port).established() as caller:
        caller.send(raw.store(sop_uid, struct.pack("<HH2sHI", 2, 1, b"OB", 0, 0xFFFFFFFF) + content))
        assert caller.answer().Status == 0xC000
    assert "without an end" in node.only_job().reason and node.stored() == []
