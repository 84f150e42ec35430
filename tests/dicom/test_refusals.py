"""Broken, hostile or empty input: refused with a status, and recorded with a sentence."""

import pytest
from pydicom import dcmread
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID
from pynetdicom import AE

from node.errors import NodeError, StoreStatus
from node.records.states import JobState, Reason
from node.scp.listener import Receiver
from node.scu.requestor import echo
from node.settings.settings import load_settings

CT = "1.2.840.10008.5.1.4.1.1.2"


def refused(node, path, status, code, words):
    """Send a file that must be refused; check the status, the row and that nothing was stored."""
    [sent] = node.send(path)
    assert not sent.ok
    assert f"0x{int(status):04X}" in sent.reason
    job = node.only_job()
    assert (job.state, job.code, job.series_uid, job.calling_ae) == (JobState.DECLINED, code, None, "SCANNER")
    assert words in job.reason
    assert node.stored() == []


def with_content(path, edit):
    """Change the encoded data set of a file (its meta information stays)."""
    content = path.read_bytes()
    start = content.index(b"\x08\x00\x05\x00CS")  # Specific Character Set, the first element of the factory's files
    path.write_bytes(content[:start] + edit(content[start:]))
    return path


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda data: b"\xde\xad\xbe\xef" * 64, "is broken"),
        (lambda data: b"no data set at all", "is broken"),
        (lambda data: data[:200], "Study Instance UID is not a valid UID"),
        (lambda data: data[:-100], "of 9216 bytes: the transfer was interrupted"),
        (lambda data: data[: data.rindex(b"\xe0\x7f\x10\x00")], "no pixel data"),
    ],
    ids=["garbage", "text", "header only", "pixels cut", "no pixels"],
)
def test_broken_bytes(node, ct_series, edit, words):
    path = with_content(ct_series(1)[0], edit)
    [sent] = node.send(path)
    assert not sent.ok and "0xC000" in sent.reason
    job = node.only_job()
    assert (job.state, job.series_uid) == (JobState.DECLINED, None)
    assert words in job.reason
    assert node.stored() == []


def test_compressed_pixels_without_an_end(node, ct_series):
    path = ct_series(1)[0]
    dataset = dcmread(path)
    dataset.compress("1.2.840.10008.1.2.5", generate_instance_uid=False)
    dataset.save_as(path, enforce_file_format=True)
    path.write_bytes(path.read_bytes()[:-60])
    refused(node, path, StoreStatus.CANNOT_UNDERSTAND, Reason.BROKEN_OBJECT, "compressed pixel data has no end")


@pytest.mark.parametrize("uid", ["../../../../tmp/evil", "1.2.3/../../4", "1..2", ".", "1.2.a"])
def test_hostile_uids_in_the_command(node, ct_series, uid, tmp_path):
    path = renamed(ct_series(1)[0], uid)
    before = {entry.name for entry in tmp_path.iterdir()}
    refused(node, path, StoreStatus.CANNOT_UNDERSTAND, Reason.INVALID_UID, "is not a valid UID")
    assert uid not in node.only_job().reason
    assert {entry.name for entry in tmp_path.iterdir()} == before


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
@pytest.mark.parametrize("value", ["../../../../tmp/evil", "", "1." * 40 + "1"])
def test_hostile_uids_in_the_data_set(node, ct_series, keyword, value):
    path = ct_series(1, **{keyword: value})[0]
    refused(node, path, StoreStatus.CANNOT_UNDERSTAND, Reason.INVALID_UID, "Instance UID is not a valid UID")


def renamed(path, uid=None, sop_class=None):
    """Change only the file meta information, from which the C-STORE command is made."""
    dataset = dcmread(path)
    content = path.read_bytes()
    start = content.index(b"\x08\x00\x05\x00CS")
    meta = dataset.file_meta
    meta.MediaStorageSOPInstanceUID = UID(uid or meta.MediaStorageSOPInstanceUID)
    meta.MediaStorageSOPClassUID = UID(sop_class or meta.MediaStorageSOPClassUID)
    with path.open("wb") as file:
        file.write(bytes(128) + b"DICM")
        write_file_meta_info(file, meta, enforce_standard=False)
        file.write(content[start:])
    return path


def test_a_data_set_with_another_instance_uid_than_the_command(node, ct_series):
    path = renamed(ct_series(1)[0], "1.2.3.4")
    refused(node, path, StoreStatus.MISMATCH, Reason.UID_MISMATCH, "SOP Instance UID differs")


def test_a_data_set_with_another_sop_class_than_the_command(node, ct_series):
    path = renamed(ct_series(1)[0], sop_class="1.2.840.10008.5.1.4.1.1.4")
    refused(node, path, StoreStatus.MISMATCH, Reason.UID_MISMATCH, "SOP Class UID differs")


def test_other_bytes_under_a_known_uid_are_kept_beside_the_first_and_reported(node, ct_series):
    path = ct_series(1)[0]
    assert node.send(path)[0].ok
    [before] = node.stored()
    content = before.read_bytes()
    dataset = dcmread(path)
    dataset.PixelData = bytes(len(dataset.PixelData))
    dataset.save_as(path)
    assert node.send(path)[0].ok and node.send(path)[0].ok
    [other] = set(node.stored()) - {before}
    assert before.read_bytes() == content
    assert dcmread(other).PixelData == dataset.PixelData
    [reported] = node.ledger.queries.jobs(JobState.DECLINED)
    assert reported.code == Reason.DIFFERENT_CONTENT and "kept beside the first" in reported.reason
    [job] = node.ledger.queries.jobs(JobState.RECEIVED)
    assert (job.instances, job.duplicates) == (1, 1)
    assert node.stored_files(job.id) == [before]


def test_many_broken_objects_are_one_row(node, ct_series):
    files = [with_content(path, lambda data: data[:-100]) for path in ct_series(6)]
    node.send(*files)
    assert node.only_job().instances == 6


def test_one_broken_slice_does_not_end_the_association(node, ct_series):
    files = ct_series(3)
    with_content(files[1], lambda data: data[:-100])
    assert [sent.ok for sent in node.send(*files)] == [True, False, True]


def test_a_nearly_full_disk_refuses_before_writing(start_node, ct_series):
    node = start_node(intake={"min_free_mb": 10**9})
    [sent] = node.send(*ct_series(1))
    assert sent.retry and "0xA700" in sent.reason and "out of resources" in sent.reason
    assert node.stored() == []


def test_an_empty_association_is_recorded(node, poll):
    for end in ("release", "abort", "release"):
        ae = AE("CHECKER")
        association = ae.associate("127.0.0.1", node.receiver.port, contexts=contexts(CT), ae_title="QCTNODE")
        assert association.is_established
        getattr(association, end)()
    jobs = node.ledger.queries.jobs
    poll(lambda: jobs() and node.only_job().instances == 3, what="three empty associations in one row")
    job = node.only_job()
    assert (job.state, job.code, job.calling_ae) == (JobState.DECLINED, Reason.EMPTY_ASSOCIATION, "CHECKER")


def test_an_association_without_accepted_classes_is_recorded_with_its_offer(node, poll):
    ae = AE("WORKLIST")
    association = ae.associate(
        "127.0.0.1", node.receiver.port, contexts=contexts("1.2.840.10008.5.1.4.31"), ae_title="QCTNODE"
    )
    if association.is_established:
        association.release()
    poll(node.ledger.queries.jobs, what="a row")
    assert "Modality Worklist" in node.only_job().reason


def test_an_echo_is_not_an_empty_association(node):
    echo(node.peer, "CHECKER")
    node.stop()
    assert node.ledger.queries.jobs() == []


def test_unknown_calling_ae_titles_are_rejected_if_so_configured(start_node, ct_series, poll):
    peer = {"name": "ct1", "ae_title": "SCANNER", "host": "127.0.0.1", "port": 104}
    node = start_node(intake={"accept_unknown_peers": False}, peers=[peer])
    assert node.send(*ct_series(1))[0].ok
    echo(node.peer, "QCTNODE")
    with pytest.raises(NodeError, match="does not know our AE title STRANGER"):
        node.send(*ct_series(1), calling="STRANGER")
    [row] = poll(lambda: node.ledger.queries.jobs(JobState.DECLINED), what="a row")
    assert (row.code, row.calling_ae) == (Reason.REJECTED_PEER, "STRANGER")
    assert "not among the peers" in row.reason


def test_another_called_ae_title_is_rejected_and_recorded(node, ct_series, poll):
    node.peer = node.peer.model_copy(update={"ae_title": "ORTHANC"})
    with pytest.raises(NodeError, match="its AE title is not ORTHANC"):
        node.send(*ct_series(1))
    poll(node.ledger.queries.jobs, what="a row")
    assert node.only_job().reason == "association rejected: the called AE title is ORTHANC, but ours is QCTNODE"


def test_a_port_in_use_is_one_sentence(node, tmp_path):
    settings = load_settings(None, node={"data": str(tmp_path / "x"), "dicom_port": node.receiver.port})
    with pytest.raises(NodeError, match=f"cannot listen for DICOM on 127.0.0.1:{node.receiver.port}"):
        Receiver(settings, node.ledger)


def contexts(*abstract_syntaxes):
    from pynetdicom import build_context

    return [build_context(syntax) for syntax in abstract_syntaxes]


def test_an_object_sent_again_replaces_its_missing_file(node, ct_series):
    path = ct_series(1)[0]
    assert node.send(path)[0].ok
    [lost] = node.stored()
    lost.unlink()
    assert node.send(path)[0].ok
    [there] = node.stored()
    assert node.stored_files(node.only_job().id) == [there]
