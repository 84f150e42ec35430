"""A node between independent peers: DCMTK's storescu sends, the node segments with the V-Net, Orthanc is the PACS."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from orthanc import Orthanc, running_orthanc
from pynetdicom import AE
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind

from segmenter.synth.series import SyntheticSeriesOptions, write_synthetic_series

SETTINGS = """\
[node]
data = "data"
dicom_port = 0
http_port = 0
[intake]
quiet_seconds = 1
accept_unknown_peers = true
[[peers]]
name = "pacs"
ae_title = "ORTHANC"
host = "127.0.0.1"
port = {port}
"""
PATIENT = SyntheticSeriesOptions(seed=8, slices=60, size=256)


@pytest.fixture
def orthanc(tmp_path: Path, free_port: Callable[[], int], tool, poll) -> Iterator[Orthanc]:
    with running_orthanc(tool("Orthanc"), tmp_path / "orthanc", (free_port(), free_port()), poll) as server:
        yield server


def dice(seg: Path, truth: Path) -> dict[str, float]:
    """Return Dice per side of a SEG against the true masks, both in patient space."""
    data = pydicom.dcmread(seg)
    frames = data.pixel_array
    names = {s.SegmentNumber: s.SegmentLabel.split()[0].lower() for s in data.SegmentSequence}
    scores = {}
    for number, side in names.items():
        mask = sitk.ReadImage(str(truth / f"{side}.nii.gz"))
        expected = sitk.GetArrayFromImage(mask) > 0
        got = np.zeros_like(expected)
        for frame, group in zip(frames, data.PerFrameFunctionalGroupsSequence, strict=True):
            if group.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number:
                position = [float(v) for v in group.PlanePositionSequence[0].ImagePositionPatient]
                got[mask.TransformPhysicalPointToIndex(position)[2]] = frame
        scores[side] = float(2 * (got & expected).sum() / (got.sum() + expected.sum()))
    return scores


@pytest.mark.timeout(600)
def test_a_study_sent_by_storescu_arrives_at_orthanc_as_seg(tmp_path, start_node, orthanc, tool, poll):
    series = write_synthetic_series(PATIENT, tmp_path / "patient")
    (tmp_path / "qct-node.toml").write_text(SETTINGS.format(port=orthanc.dicom_port))
    node = start_node("-m", "node", "--config", str(tmp_path / "qct-node.toml"), "up").ready(120)
    sent = [tool("storescu"), "-aec", "QCTNODE", "+sd", "127.0.0.1", str(node.dicom_port), str(series)]
    subprocess.run(sent, check=True, capture_output=True)
    study = pydicom.dcmread(next(series.iterdir()), stop_before_pixels=True).StudyInstanceUID

    poll(lambda: node.get("/api/jobs")[0]["state"] in ("delivered", "failed", "held", "declined"), 400, "the job's end")
    (job,) = node.get("/api/jobs")
    assert (job["state"], job["reason"]) == ("delivered", "")
    (instance,) = orthanc.find(Modality="SEG", StudyInstanceUID=study)

    seg = tmp_path / "seg.dcm"
    seg.write_bytes(orthanc.get(f"/instances/{instance}/file"))
    scores = dice(seg, tmp_path / "patient" / "truth")
    assert scores.keys() == {"left", "right"}
    assert min(scores.values()) >= 0.95, scores
    assert sorted(modalities_by_c_find(orthanc, study)) == ["OT", "SEG", "SR"]
    checked = subprocess.run([tool("dciodvfy"), str(seg)], capture_output=True, text=True, check=False)
    assert "Error" not in checked.stderr + checked.stdout
    assert node.stop() == (0, "")


def modalities_by_c_find(orthanc: Orthanc, study: str) -> list[str]:
    """Ask the PACS for the series of a study by C-FIND (PS3.4 C.4.1)."""
    ae = AE("TESTER")
    ae.add_requested_context(StudyRootQueryRetrieveInformationModelFind)
    query = pydicom.Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID = "SERIES", study
    query.SeriesInstanceUID, query.Modality = "", ""
    association = ae.associate("127.0.0.1", orthanc.dicom_port, ae_title="ORTHANC")
    assert association.is_established
    found = [
        data.Modality for _, data in association.send_c_find(query, StudyRootQueryRetrieveInformationModelFind) if data
    ]
    association.release()
    return found
