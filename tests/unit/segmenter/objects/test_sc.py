"""The Secondary Capture: the page's very pixels, in the patient's study, with nothing of the patient in them."""

import subprocess
from dataclasses import replace

import numpy as np
import pytest
from ct_factory import CtSpec, write_ct
from findings_factory import IDENTITY
from PIL import Image
from pydicom import dcmread

from segmenter.objects.sc import EDGE, write_sc
from segmenter.read.series import read_series

EDGE_COLOUR = (10, 20, 30)


@pytest.fixture
def series(tmp_path):
    return read_series(write_ct(tmp_path / "ct", CtSpec()))


def page(width=33, height=21):
    return Image.fromarray(np.random.default_rng(5).integers(0, 256, (height, width, 3)).astype(np.uint8))


def test_pixels_are_those_of_the_page(series, tmp_path):
    picture = page()
    data = dcmread(write_sc(series, IDENTITY, picture, EDGE_COLOUR, tmp_path / "sc.dcm"))
    assert len(data.PixelData) % 2 == 0
    assert (data.pixel_array[EDGE:-EDGE] == np.asarray(picture)).all()
    assert (data.pixel_array[:EDGE] == EDGE_COLOUR).all() and (data.pixel_array[-EDGE:] == EDGE_COLOUR).all()
    assert (data.Rows, data.Columns, data.PhotometricInterpretation) == (21 + 2 * EDGE, 33, "RGB")
    grey = dcmread(write_sc(series, IDENTITY, picture.convert("L"), EDGE_COLOUR, tmp_path / "grey.dcm"))
    assert grey.pixel_array.shape == (21 + 2 * EDGE, 33, 3)


def test_who_it_is_stands_in_the_header_only(series, tmp_path):
    data = dcmread(write_sc(series, IDENTITY, page(), EDGE_COLOUR, tmp_path / "sc.dcm"))
    assert (data.PatientName, data.PatientID) == ("Möller^Käthe", "SECRET-4711")
    assert data.StudyInstanceUID == series.study_uid
    assert (data.BurnedInAnnotation, data.Modality, data.ConversionType) == ("NO", "OT", "WSD")
    assert data.SeriesNumber == 7004
    assert "for investigational use" in data.SeriesDescription
    assert "for investigational use" in data.DerivationDescription
    assert [item.ReferencedSOPInstanceUID for item in data.SourceImageSequence] == list(series.instance_uids)
    assert data.ContributingEquipmentSequence[0].ManufacturerModelName == "femur-vnet"
    assert "FrameOfReferenceUID" not in data


def test_same_page_gives_the_same_bytes_and_another_model_another_object(series, tmp_path):
    first = write_sc(series, IDENTITY, page(), EDGE_COLOUR, tmp_path / "a.dcm").read_bytes()
    assert write_sc(series, IDENTITY, page(), EDGE_COLOUR, tmp_path / "b.dcm").read_bytes() == first
    other = dcmread(
        write_sc(series, replace(IDENTITY, model_digest="ee" * 32), page(), EDGE_COLOUR, tmp_path / "c.dcm")
    )
    mine = dcmread(tmp_path / "a.dcm")
    assert other.SOPInstanceUID != mine.SOPInstanceUID
    assert other.SeriesInstanceUID != mine.SeriesInstanceUID
    assert other.ContributingEquipmentSequence[0].DeviceUID != mine.ContributingEquipmentSequence[0].DeviceUID


@pytest.mark.parametrize("lossy", ["00", "01"])
def test_loss_in_the_source_is_told(tmp_path, tool, lossy):
    tags = {"LossyImageCompression": lossy}
    if lossy == "01":
        tags |= {"LossyImageCompressionRatio": "12", "LossyImageCompressionMethod": "ISO_10918_1"}
    series = read_series(write_ct(tmp_path / "ct", CtSpec(tags=tags)))
    path = write_sc(series, IDENTITY, page(), EDGE_COLOUR, tmp_path / "sc.dcm")
    data = dcmread(path)
    assert data.LossyImageCompression == lossy
    assert ("LossyImageCompressionRatio" in data) == (lossy == "01")
    checked = subprocess.run([tool("dciodvfy"), "-new", path], capture_output=True, text=True, check=False)
    complaints = (checked.stdout + checked.stderr).splitlines()
    # Device UID is younger than the checker, which otherwise has nothing to say.
    assert [line for line in complaints if line != "SCImage" and "DeviceUID" not in line] == []
