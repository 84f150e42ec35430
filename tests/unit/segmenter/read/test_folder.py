"""What a folder holds beside the scan is counted by kind, and what may be a part of the scan is never left out."""

import gzip
import subprocess
import sys

import pytest
from ct_factory import CtSpec, write_ct
from pydicom import dcmread
from pydicom.uid import MRImageStorage, SecondaryCaptureImageStorage

from segmenter.errors import Reason, SegmenterError, Verdict
from segmenter.read.folder import search_folder

SPEC = CtSpec(tags={"PatientName": "Doe^Jane", "SeriesNumber": 4})


def cut(length):
    return lambda path: path.write_bytes(path.read_bytes()[:length])


def zipped(path):
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


def without_class(path):
    ds = dcmread(path)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.3.4.5.6"
    ds.save_as(path)


LOST = {
    "within the preamble": (cut(90), "4 cut off or damaged"),
    "within the header": (cut(500), "4 cut off or damaged"),
    "within the meta information": (cut(200), "4 cut off or damaged"),
    "empty": (cut(0), "4 cut off or damaged"),
    "gzip": (zipped, "4 DICOM compressed with gzip: unpack it"),
    "SOP class": (without_class, "4 says Modality CT, but its SOP class is missing or not known"),
}


@pytest.mark.parametrize(("damage", "words"), LOST.values(), ids=LOST)
def test_files_that_may_be_a_part_of_the_scan_stop_it(tmp_path, damage, words):
    for path in write_ct(tmp_path, SPEC)[:4]:
        damage(path)
    with pytest.raises(SegmenterError, match="beside the 16 images of the series") as refusal:
        search_folder(tmp_path)
    assert (refusal.value.reason, refusal.value.verdict) == (Reason.UNREADABLE, Verdict.HELD)
    assert words in str(refusal.value)


def test_what_is_not_of_the_scan_is_counted_by_kind_without_names(tmp_path):
    files = write_ct(tmp_path / "ct", SPEC)
    write_ct(tmp_path / "mr", CtSpec((2, 8, 8), tags={"SOPClassUID": MRImageStorage, "Modality": "MR"}))
    write_ct(tmp_path / "scout", CtSpec((1, 8, 8), tags={"ImageType": ["LOCALIZER"], "SeriesInstanceUID": "1.8"}))
    write_ct(tmp_path / "page", CtSpec((1, 8, 8), tags={"SOPClassUID": SecondaryCaptureImageStorage}))
    (tmp_path / "Doe^Jane.txt").write_text("hello")
    (tmp_path / "._000.dcm").write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X")
    (tmp_path / "rest.zip").write_bytes(b"PK\x03\x04 and so on")
    found = search_folder(tmp_path)
    assert sorted(found.files) == sorted(files)
    assert len(found.unused) == 7
    (warning,) = found.warnings
    assert warning.startswith("7 of 27 files in the folder were not used: ")
    for words in (
        "2 of another kind (MR Image Storage)", "1 of a localiser series", "2 not DICOM", "1 packed as an archive",
        "1 says Modality CT, but is no CT image: its SOP class is Secondary Capture Image Storage",
    ):  # fmt: skip
        assert words in warning
    assert "Jane" not in warning


def test_a_folder_of_nothing_else_has_no_warning(tmp_path):
    write_ct(tmp_path, SPEC)
    assert search_folder(tmp_path).warnings == ()


NO_SERIES = {
    "cut off": (cut(300), Reason.UNREADABLE, "no CT series that can be read: 20 cut off or damaged"),
    "gzip": (zipped, Reason.UNREADABLE, "no CT series that can be read: 20 DICOM compressed with gzip"),
    "SOP class": (without_class, Reason.NOT_CT, "no file of the folder is a CT image: 20 says Modality CT"),
}


@pytest.mark.parametrize(("damage", "reason", "words"), NO_SERIES.values(), ids=NO_SERIES)
def test_a_folder_without_a_usable_image_says_what_is_in_it(tmp_path, damage, reason, words):
    for path in write_ct(tmp_path, SPEC):
        damage(path)
    with pytest.raises(SegmenterError, match=words) as refusal:
        search_folder(tmp_path)
    assert refusal.value.reason is reason
    assert "holds no CT images" not in str(refusal.value)


def test_the_command_names_the_files_on_the_terminal_only(tmp_path):
    write_ct(tmp_path / "in", SPEC)
    (tmp_path / "in" / "notes.txt").write_text("hello")
    (tmp_path / "in" / "000.dcm").write_bytes(b"")
    command = [sys.executable, "-m", "node", "segment", str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "1 cut off or damaged" in done.stderr
