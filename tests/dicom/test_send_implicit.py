"""Sending to DCMTK's storescp that accepts only one transfer syntax."""

import hashlib
import subprocess

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from node.errors import PeerError
from node.scu.requestor import echo
from node.scu.storage import send_files
from node.settings.routing import Peer


@pytest.fixture
def storescp(tool, tmp_path, free_port, poll):
    """Return a function that starts storescp with an option and returns it as a peer, and the folder it writes to."""
    started = []

    def start(option):
        folder = tmp_path / "archive"
        folder.mkdir()
        port = free_port()
        command = [tool("storescp"), option, "-aet", "ARCHIVE", "-od", str(folder), str(port)]
        started.append(subprocess.Popen(command))
        peer = Peer(name="archive", ae_title="ARCHIVE", host="127.0.0.1", port=port)
        poll(lambda: answers(peer), what="storescp")
        return peer, folder

    yield start
    for process in started:
        process.kill()
        process.wait()


def answers(peer) -> bool:
    try:
        echo(peer, "QCTNODE", timeout=2)
    except PeerError:
        return False
    return True


def nested(_index, dataset):
    """Give the slice sequences in sequences, of defined and of undefined length, and elements of long VRs."""
    inner, outer = Dataset(), Dataset()
    inner.CodeValue, inner.CodeMeaning = "71341001", "Femur"
    inner.RecommendedDisplayCIELabValue = [1, 2, 3]
    outer.AnatomicRegionSequence = [inner, inner]
    outer.add_new(0x00081198, "SQ", [])
    dataset.ReferencedSeriesSequence = [outer]
    dataset["ReferencedSeriesSequence"].is_undefined_length = True
    dataset.SourceImageSequence = [outer]
    dataset.TextValue = "long " * 20


@pytest.mark.parametrize(
    ("option", "syntax"),
    [("+xi", ImplicitVRLittleEndian), ("+xe", ExplicitVRLittleEndian)],
    ids=["implicit", "explicit"],
)
def test_explicit_files_reach_a_peer_complete(storescp, ct_series, option, syntax):
    files = ct_series(2, nested)
    before = [hashlib.sha256(path.read_bytes()).digest() for path in files]
    peer, folder = storescp(option)
    assert [sent.reason for sent in send_files(peer, files, "QCTNODE")] == ["", ""]
    got = {found.SOPInstanceUID: found for found in map(dcmread, folder.iterdir())}
    assert len(got) == 2
    for path in files:
        sent = dcmread(path)
        received = got[sent.SOPInstanceUID]
        assert sent.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert received.file_meta.TransferSyntaxUID == syntax
        assert received.to_json_dict() == sent.to_json_dict()
    assert [hashlib.sha256(path.read_bytes()).digest() for path in files] == before


def test_only_explicit_little_endian_is_converted(storescp, ct_series, tmp_path):
    dataset = dcmread(ct_series(1)[0])
    deflated = tmp_path / "deflated.dcm"
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    dataset.save_as(deflated)
    peer, folder = storescp("+xi")
    with pytest.raises(PeerError, match="accepts none of the offered SOP classes: CT Image Storage"):
        send_files(peer, [deflated], "QCTNODE")
    assert list(folder.iterdir()) == []
