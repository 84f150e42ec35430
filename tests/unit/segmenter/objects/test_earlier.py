"""Results that replace earlier ones of the same series: each object names them, and shows that it is not the first."""

import re
import subprocess
from dataclasses import replace

import pytest
from findings_factory import IDENTITY, certificate, findings
from PIL import Image
from pydicom import dcmread
from pydicom.uid import Comprehensive3DSRStorage, SecondaryCaptureImageStorage, SegmentationStorage
from seg_factory import case_of

from segmenter.objects.common import new_object
from segmenter.objects.earlier import EarlierResult, read_earlier
from segmenter.objects.sc import write_sc
from segmenter.objects.seg import write_seg
from segmenter.objects.sr import write_sr

EARLIER = (
    EarlierResult(SegmentationStorage, "2.25.1", "2.25.11"),
    EarlierResult(Comprehensive3DSRStorage, "2.25.2", "2.25.12"),
    EarlierResult(SecondaryCaptureImageStorage, "2.25.3", "2.25.13"),
)
LATER = replace(IDENTITY, replaces=EARLIER)
KINDS = [
    (SegmentationStorage, "SEG", "Proximal femur"),
    (SecondaryCaptureImageStorage, "OT", "Femur picture"),
    (Comprehensive3DSRStorage, "SR", "Femur measurements"),
]


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    return case_of(tmp_path_factory.mktemp("scan"))


@pytest.fixture
def series(scan):
    return scan[0]


@pytest.mark.parametrize(("sop_class", "modality", "what"), KINDS)
def test_a_later_result_is_another_object_and_says_so(series, sop_class, modality, what):
    first = new_object(series, IDENTITY, sop_class, modality, what)
    later = new_object(series, LATER, sop_class, modality, what)
    assert later.SOPInstanceUID != first.SOPInstanceUID
    assert later.SeriesInstanceUID != first.SeriesInstanceUID
    assert "result" not in first.SeriesDescription and "ReferencedInstanceSequence" not in first
    assert later.SeriesDescription.startswith(f"{what} (result 2), for investigational use")
    assert len(later.SeriesDescription) <= 64 and later.SeriesDescription.endswith(IDENTITY.model_version)


@pytest.mark.parametrize(("sop_class", "modality", "what"), KINDS[:2])
def test_an_image_names_every_object_that_it_replaces(series, sop_class, modality, what):
    named = new_object(series, LATER, sop_class, modality, what).ReferencedInstanceSequence
    assert [item.ReferencedSOPInstanceUID for item in named] == ["2.25.1", "2.25.2", "2.25.3"]
    assert {item.PurposeOfReferenceCodeSequence[0].CodeValue for item in named} == {"REPLACED"}


def test_the_same_earlier_results_give_the_same_object(series):
    assert new_object(series, LATER, *KINDS[0]) == new_object(series, LATER, *KINDS[0])


def test_earlier_results_are_read_from_their_files(series, tmp_path):
    path = tmp_path / "seg.dcm"
    made = new_object(series, IDENTITY, *KINDS[0])
    made.save_as(path, enforce_file_format=True)
    (tmp_path / "report.json").write_text("{}")
    [found] = read_earlier([path, tmp_path / "report.json"])
    assert found == EarlierResult(SegmentationStorage, made.SOPInstanceUID, dcmread(path).SeriesInstanceUID)


def test_all_three_kinds_are_valid_and_the_report_names_its_predecessor(scan, tmp_path, tool):
    series, masks = scan
    seg = write_seg(series, masks, LATER, tmp_path / "seg.dcm")
    sr = write_sr(series, LATER, findings(certificate(), "left", "right"), seg, tmp_path / "sr.dcm")
    sc = write_sc(series, LATER, Image.new("RGB", (64, 64)), (0, 0, 0), tmp_path / "sc.dcm")
    [study] = dcmread(sr).PredecessorDocumentsSequence
    [of_series] = study.ReferencedSeriesSequence
    [named] = of_series.ReferencedSOPSequence
    assert study.StudyInstanceUID == series.study_uid
    assert (of_series.SeriesInstanceUID, named.ReferencedSOPInstanceUID) == ("2.25.12", "2.25.2")
    assert named.PurposeOfReferenceCodeSequence[0].CodeValue == "121360"
    for path in (seg, sr, sc):
        checked = subprocess.run([tool("dciodvfy"), "-new", path], capture_output=True, text=True, check=False)
        said = (checked.stdout + checked.stderr).splitlines()
        assert [line for line in said if re.match("Error", line)] == []
