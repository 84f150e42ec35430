"""Files that do not keep to the rules of a DICOM file: no preamble, no SOP class, elements without a valid VR."""

import struct
import subprocess

import numpy as np
import pytest
from ct_factory import CtSpec, write_ct
from pydicom import dcmread
from pydicom.uid import CTImageStorage, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from segmenter.errors import Reason, SegmenterError
from segmenter.read.folder import find_series
from segmenter.read.hounsfield import read_volume
from segmenter.read.series import read_series

SPEC = CtSpec()


def without_preamble(path, syntax, keep_meta, tool):
    """Write a file anew in a syntax, then take off its preamble, and its file meta information unless kept."""
    option = {ExplicitVRLittleEndian: "+te", ImplicitVRLittleEndian: "+ti", ExplicitVRBigEndian: "+tb"}[syntax]
    subprocess.run([tool("dcmconv"), option, path, path], check=True)
    content = path.read_bytes()
    path.write_bytes(content[132 if keep_meta else 144 + int.from_bytes(content[140:144], "little") :])


@pytest.mark.parametrize("keep_meta", [False, True])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("count", [20, 6])
def test_files_without_a_preamble_are_read(tmp_path, tool, syntax, keep_meta, count):
    files = write_ct(tmp_path, SPEC)
    for path in files[-count:]:
        without_preamble(path, syntax, keep_meta, tool)
    assert sorted(find_series(tmp_path)) == sorted(files)
    series = read_series(files)
    assert np.array_equal(read_volume(series), SPEC.hu())
    assert series.header.SOPClassUID == CTImageStorage


def test_compressed_pixels_of_a_file_that_does_not_say_how_are_not_supported(tmp_path, tool):
    def edit(index, ds):
        if index == 3:
            ds.compress("1.2.840.10008.1.2.5", generate_instance_uid=False)

    files = write_ct(tmp_path, SPEC, edit)
    content = files[3].read_bytes()
    files[3].write_bytes(content[144 + int.from_bytes(content[140:144], "little") :])
    with pytest.raises(SegmenterError, match="compressed, but the file does not state how") as refusal:
        read_volume(read_series(files))
    assert refusal.value.reason is Reason.TRANSFER_SYNTAX


@pytest.mark.parametrize("value", ["", None])
@pytest.mark.parametrize("keyword", ["SOPClassUID", "SOPInstanceUID"])
def test_a_uid_that_the_data_set_lacks_comes_from_the_file_meta_information(tmp_path, keyword, value):
    files = write_ct(tmp_path, SPEC)
    expected = read_series(files)
    for path in files:
        ds = dcmread(path)
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
        ds.save_as(path)
    series = read_series(find_series(tmp_path))
    assert series.instance_uids == expected.instance_uids
    assert series.header.SOPClassUID == CTImageStorage
    assert np.array_equal(read_volume(series), SPEC.hu())


def short(tag, vr, value):
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def long(tag, vr, value):
    return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr, 0, len(value)) + value


ODD = {
    "NULs": short(0x20011001, b"\0\0", b"ABCD"),
    "NULs, empty": short(0x20011001, b"\0\0", b""),
    "several": short(0x20011001, b"\0\0", b"ABCD") + short(0x20011002, b"??", b"AB") + short(0x20011003, b"  ", b"AB"),
    "question marks": short(0x20011001, b"??", b"ABCD"),
    "lower case": short(0x20011001, b"lo", b"ABCD"),
    "of the future": long(0x20011001, b"XX", b"ABCD"),
    "a private sequence that is none": long(0x20011001, b"SQ", b"NOT A SEQUENCE AT ALL "),
    "a sequence that is none": long(0x00321064, b"SQ", b"NOT A SEQUENCE AT ALL "),
    "a private number that is none": short(0x20011001, b"DS", b"ABCD"),
}


@pytest.mark.parametrize("before", [b"\x20\x00\x0d\x00UI", b"\xe0\x7f\x10\x00O"], ids=["UIDs", "pixels"])
@pytest.mark.parametrize("element", ODD.values(), ids=ODD)
def test_an_odd_element_costs_nothing_else(tmp_path, element, before):
    files = write_ct(tmp_path, SPEC)
    for path in files:
        content = path.read_bytes()
        at = content.index(before)
        path.write_bytes(content[:at] + element + content[at:])
    series = read_series(find_series(tmp_path))
    assert np.array_equal(read_volume(series), SPEC.hu())
    for each in series.header.iterall():  # as a program that copies the header would
        assert each.keyword or each.tag.is_private
    assert series.header.StudyInstanceUID == "1.2.826.0.1.3680043.9.2"


def test_an_element_of_the_dictionary_without_its_vr_is_read_with_it(tmp_path):
    files = write_ct(tmp_path, SPEC)
    for path in files:
        content = path.read_bytes()
        for tag in (b"\x28\x00\x10\x00", b"\x28\x00\x52\x10"):
            at = content.index(tag)
            content = content[: at + 4] + b"??" + content[at + 6 :]
        path.write_bytes(content)
    assert np.array_equal(read_volume(read_series(files)), SPEC.hu())
