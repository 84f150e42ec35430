"""The archive of the demo as a process of its own; the sender is DCMTK's storescu."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

ARCHIVE = Path(__file__).parents[2] / "deploy/demo/archive.py"


@pytest.fixture
def storescu(tool):
    """Send one file to a port and return the output of DCMTK's storescu."""
    program = tool("storescu")

    def send(port, *files):
        return subprocess.run(
            [program, "-v", "-aec", "ARCHIVE", "127.0.0.1", str(port), *map(str, files)],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        ).stderr

    return send


@pytest.fixture
def archive(tmp_path):
    """Start the archive; yield (port, folder, process) and stop it."""
    folder = tmp_path / "archive"
    process = subprocess.Popen([sys.executable, str(ARCHIVE), "--data", str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        port = int(re.fullmatch(r"ready: archive 127\.0\.0\.1:(\d+) aet ARCHIVE\n", line)[1])
        yield port, folder, process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def ct_file(tmp_path):
    """Return a function that writes a tiny CT object with the given attributes."""
    uids = {
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "SOPInstanceUID": generate_uid(),
    }

    def write(name, **attributes):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds = Dataset()
        ds.file_meta = meta
        ds.SOPClassUID = CTImageStorage
        for keyword, value in {**uids, **attributes}.items():
            setattr(ds, keyword, value)
        ds.Rows = ds.Columns = 4
        ds.BitsAllocated = ds.BitsStored = 16
        ds.HighBit, ds.PixelRepresentation, ds.SamplesPerPixel = 15, 1, 1
        ds.PhotometricInterpretation = "MONOCHROME2"
        ds.PixelData = np.zeros((4, 4), np.int16).tobytes()
        path = tmp_path / name
        ds.save_as(path, enforce_file_format=True)
        return path

    return write


def files_in(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_an_object_is_stored_under_study_series_and_instance(archive, storescu, ct_file):
    port, folder, _ = archive
    sent = ct_file("a.dcm")
    assert "(Success)" in storescu(port, sent)
    ds = dcmread(sent)
    kept = folder / ds.StudyInstanceUID / ds.SeriesInstanceUID / f"{ds.SOPInstanceUID}.dcm"
    assert files_in(folder) == [kept]
    assert dcmread(kept) == ds


def test_equal_bytes_are_accepted_twice_and_stored_once(archive, storescu, ct_file):
    port, folder, _ = archive
    sent = ct_file("a.dcm")
    assert storescu(port, sent, sent).count("(Success)") == 2
    assert len(files_in(folder)) == 1


def test_other_bytes_under_the_same_uid_are_refused_and_the_first_stay(archive, storescu, ct_file):
    port, folder, _ = archive
    storescu(port, ct_file("a.dcm", SeriesDescription="first"))
    answer = storescu(port, ct_file("b.dcm", SeriesDescription="second"))
    assert "(Success)" not in answer
    assert "CannotUnderstand" in answer
    (kept,) = files_in(folder)
    assert dcmread(kept).SeriesDescription == "first"


@pytest.mark.parametrize("uid", ["../../../outside", "1.2.03", "1..2", "1." + "2" * 64])
def test_an_invalid_uid_never_becomes_a_path(archive, storescu, ct_file, uid):
    port, folder, _ = archive
    with pytest.warns(UserWarning, match="VR UI"):
        sent = ct_file("a.dcm", StudyInstanceUID=uid)
    before = set(files_in(folder.parent))
    assert "CannotUnderstand" in storescu(port, sent)
    assert set(files_in(folder.parent)) == before


def test_sigterm_stops_the_archive_cleanly(archive):
    _, _, process = archive
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0


def test_a_port_in_use_is_one_sentence(archive, tmp_path):
    port = archive[0]
    second = subprocess.run(
        [sys.executable, str(ARCHIVE), "--data", str(tmp_path / "b"), "--port", str(port)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert second.returncode == 1
    assert second.stderr.strip() == f"Error: cannot listen on 127.0.0.1:{port}: Address already in use"
