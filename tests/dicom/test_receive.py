"""Objects received over associations: stored byte for byte, recorded, acknowledged."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian
from pynetdicom.dsutils import split_dataset
from sql import ask

from node.records.states import JobState
from node.scp.services import TRANSFER_SYNTAXES

COMPRESSED_BY_PYDICOM = ["1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"]
CONVERTED_BY_DCMTK = {
    "1.2.840.10008.1.2": ("dcmconv", "+ti"),
    "1.2.840.10008.1.2.2": ("dcmconv", "+tb"),
    "1.2.840.10008.1.2.1.99": ("dcmconv", "+td"),
    "1.2.840.10008.1.2.4.57": ("dcmcjpeg", "+el"),
    "1.2.840.10008.1.2.4.70": ("dcmcjpeg", "+e1"),
}


def data_set_bytes(path):
    _, offset = split_dataset(path)
    return path.read_bytes()[offset:]


def in_syntax(path, uid, dcmtk):
    """Convert a file to a transfer syntax, with an encoder where there is one."""
    if uid in CONVERTED_BY_DCMTK:
        program, option = CONVERTED_BY_DCMTK[uid]
        assert dcmtk(program, option, path, path).returncode == 0
    elif uid != ExplicitVRLittleEndian:
        dataset = dcmread(path)
        if uid in COMPRESSED_BY_PYDICOM:
            dataset.compress(uid, generate_instance_uid=False)
        else:  # the node stores compressed pixels without decoding them, so any bytes serve
            dataset.PixelData = encapsulate([b"\xff\x4f" + bytes(98)])
            dataset["PixelData"].is_undefined_length = True
            dataset.file_meta.TransferSyntaxUID = uid
        dataset.save_as(path, enforce_file_format=True)
    assert dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID == uid
    return path


@pytest.mark.parametrize("uid", TRANSFER_SYNTAXES, ids=lambda uid: UID(uid).name)
def test_every_transfer_syntax_is_stored_unchanged(node, ct_series, dcmtk, uid):
    path = in_syntax(ct_series(1)[0], uid, dcmtk)
    [sent] = node.send(path)
    assert sent.ok, sent.reason
    [kept] = node.stored_files(node.only_job().id)
    assert split_dataset(kept)[0].TransferSyntaxUID == uid
    assert data_set_bytes(kept) == data_set_bytes(path)
    [header] = node.ledger.instances.headers_of(node.only_job().id)
    assert (header.rows, header.columns, header.spacing, header.rescale) == (64, 72, (2.5, 2.0), True)
    assert header.orientation == (1, 0, 0, 0, 1, 0)


def test_dcmtk_sends_and_verifies(node, ct_series, dcmtk):
    files = ct_series(5)
    folder = files[0].parent
    address = ("127.0.0.1", node.receiver.port)
    assert dcmtk("echoscu", "-aec", "QCTNODE", *address).returncode == 0
    assert dcmtk("storescu", "-aet", "MODALITY", "-aec", "QCTNODE", "+sd", *address, folder).returncode == 0
    again = dcmtk("dcmsend", "-v", "-aec", "QCTNODE", "+sd", *address, folder)
    assert again.returncode == 0, again.stderr
    job = node.only_job()
    assert (job.state, job.instances, job.calling_ae, job.modality) == (JobState.RECEIVED, 5, "MODALITY", "CT")
    assert job.host == "127.0.0.1"


def test_an_object_from_a_newer_library_version_is_the_same_object(node, ct_series, monkeypatch):
    [path] = ct_series(1)
    assert node.send(path)[0].ok
    [before] = node.stored()
    monkeypatch.setattr("node.dicom.file_meta.PYNETDICOM_IMPLEMENTATION_VERSION", "NEWER")
    [sent] = node.send(path)
    assert sent.ok, sent.reason
    assert node.only_job().instances == 1
    assert node.stored() == [before]
    assert split_dataset(before)[0].ImplementationVersionName != "NEWER"
    assert node.only_job().duplicates == 1


def test_storescu_with_compression(node, ct_series, dcmtk):
    files = [in_syntax(path, "1.2.840.10008.1.2.4.70", dcmtk) for path in ct_series(2)]
    sent = dcmtk("storescu", "-xs", "-aec", "QCTNODE", "127.0.0.1", node.receiver.port, *files)
    assert sent.returncode == 0, sent.stderr
    kept = node.stored_files(node.only_job().id)
    assert {split_dataset(path)[0].TransferSyntaxUID for path in kept} == {"1.2.840.10008.1.2.4.70"}


@pytest.mark.parametrize("chooses", ["uncompressed", "sender"])
def test_storescu_that_names_lossy_compression_first_for_uncompressed_images(start_node, ct_series, dcmtk, chooses):
    """In one context with the uncompressed syntaxes (+C): if JPEG is chosen, storescu has no way to send them."""
    node = start_node(intake={"transfer_syntax": chooses})
    sent = dcmtk("storescu", "-xx", "+C", "-aec", "QCTNODE", "127.0.0.1", node.receiver.port, *ct_series(2))
    assert (sent.returncode == 0) is (chooses == "uncompressed")
    kept = {split_dataset(path)[0].TransferSyntaxUID for path in node.stored()}
    assert kept == ({"1.2.840.10008.1.2.1"} if chooses == "uncompressed" else set())


def test_the_ledger_agrees_with_the_files(node, ct_series):
    node.send(*ct_series(3))
    rows = ask(node.settings.data, "SELECT path, transfer_syntax, sha256, size FROM instances")
    assert len(rows) == 3
    for name, syntax, sha256, size in rows:
        path = node.settings.data / name
        assert hashlib.sha256(syntax.encode() + data_set_bytes(path)).hexdigest() == sha256
        assert path.stat().st_size == size
    assert len(node.stored()) == 3, "no temporary file is left"


def test_duplicates_are_accepted_and_counted_once(node, ct_series):
    files = ct_series(3)
    assert all(sent.ok for sent in node.send(*files))
    assert all(sent.ok for sent in node.send(*files))
    assert node.only_job().instances == 3
    assert len(node.stored()) == 3


def test_ten_associations_at_once_and_two_series(node, ct_series):
    one, two = ct_series(20), ct_series(20)
    batches = [(one + two)[n::10] for n in range(10)]
    with ThreadPoolExecutor(10) as pool:
        outcomes = [sent for batch in pool.map(lambda b: node.send(*b), batches) for sent in batch]
    assert all(sent.ok for sent in outcomes)
    assert sorted(job.instances for job in node.ledger.queries.jobs()) == [20, 20]


def test_a_series_over_several_associations_is_one_job(node, ct_series):
    for path in ct_series(4):
        node.send(path)
    assert node.only_job().instances == 4


def test_other_modalities_are_accepted_and_decided_later(node, ct_series):
    def as_mr(_index, dataset):
        dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
        dataset.Modality = "MR"

    assert all(sent.ok for sent in node.send(*ct_series(2, as_mr)))
    assert node.only_job().modality == "MR"


def test_patient_data_stays_in_the_file(node, ct_series, caplog):
    caplog.set_level(0)
    node.send(*ct_series(2))
    written = str(node.only_job()) + caplog.text + str(node.ledger.instances.headers_of(node.only_job().id))
    assert "SECRET" not in written and "ller" not in written and "19400229" not in written
