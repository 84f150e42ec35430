"""The node and the segmenter, which may not import each other, read contrast medium from a header by the same rules."""

from io import BytesIO

import pytest
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from node.dicom.headers import file_header
from segmenter.read.contrast import contrast_given

AGENTS = [
    "", "NONE", "none", "No", "N", "No contrast", "NO IV CONTRAST", "Without contrast", "W/O", "ohne KM", "keines",
    "nativ", "non-contrast", "unenhanced", "0", "0 ml", "N/A", "-", "Ultravist 370", "Non-ionic", "APPLIED", "YES",
    "NO IV, ORAL ONLY", "CONTRAST", "IV", "Normal saline", "Omnipaque", "unknown",
]  # fmt: skip
VALUES = [
    *({"ContrastBolusAgent": agent} for agent in AGENTS),
    {"ContrastBolusVolume": "100"}, {"ContrastBolusVolume": "0"}, {"ContrastBolusTotalDose": "80"},
    {"ContrastBolusIngredient": "IODINE"}, {"ContrastBolusAgent": "NONE", "ContrastBolusVolume": "60"},
    {"ContrastBolusAgent": "APPLIED", "ContrastBolusVolume": "0", "ContrastBolusTotalDose": "0"},
    {"ContrastBolusAgentSequence": [Dataset()]},
]  # fmt: skip


@pytest.mark.parametrize("values", VALUES, ids=str)
def test_node_and_segmenter_agree(tmp_path, values):
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = CTImageStorage, "1.2.3"
    made.StudyInstanceUID, made.SeriesInstanceUID = "1.2", "1.2.1"
    made.Rows, made.Columns, made.PixelData = 1, 1, b"\0\0"
    made["PixelData"].VR = "OW"
    for keyword, value in values.items():
        setattr(made, keyword, value)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID, made.file_meta.MediaStorageSOPInstanceUID = CTImageStorage, "1.2.3"
    content = BytesIO()
    dcmwrite(content, made, enforce_file_format=True)
    (tmp_path / "a.dcm").write_bytes(content.getvalue())
    assert file_header(tmp_path / "a.dcm").contrast is contrast_given(made)
