from io import BytesIO

import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from node.errors import Answer, ObjectError
from node.headers import read_header
from node.states import Reason

CT = "1.2.840.10008.5.1.4.1.1.2"


def dataset(**changes):
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID, made.SOPInstanceUID = CT, "1.2.3.4"
    made.StudyInstanceUID, made.SeriesInstanceUID = "1.2", "1.2.3"
    made.Modality = "CT"
    made.PatientName, made.PatientID = "SECRET^NAME", "SECRET-ID"
    made.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    made.Rows = made.Columns = 4
    made.BitsAllocated = made.BitsStored = 16
    made.PixelData = bytes(32)
    for keyword, value in changes.items():
        setattr(made, keyword, value)
    return made


def encoded(made, syntax=ExplicitVRLittleEndian):
    made.file_meta.TransferSyntaxUID = syntax
    made.file_meta.MediaStorageSOPClassUID, made.file_meta.MediaStorageSOPInstanceUID = CT, "1.2.3.4"
    buffer = BytesIO()
    made.save_as(buffer, enforce_file_format=True, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    return buffer.getvalue()


def read(content):
    return read_header(content, CT, "1.2.3.4")


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_what_the_node_needs_and_nothing_of_the_patient(syntax):
    made = dataset(
        ImagePositionPatient=["-1.5", "2", "3e1"], ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        PixelSpacing=["0.5", "0.6"],
        FrameOfReferenceUID="1.9", SeriesDescription="Hüfte links", SpecificCharacterSet="ISO_IR 100",
        AccessionNumber="A1", BodyPartExamined="HIP", RescaleSlope=1, RescaleIntercept=-1024,
    )  # fmt: skip
    header = read(encoded(made, syntax))
    assert (header.position, header.spacing) == ((-1.5, 2.0, 30.0), (0.5, 0.6))
    assert (header.orientation, header.frame_of_reference) == ((1, 0, 0, 0, 1, 0), "1.9")
    assert (header.series_description, header.body_part, header.accession) == ("Hüfte links", "HIP", "A1")
    assert (header.rows, header.frames, header.rescale) == (4, 1, True)
    assert header.image_type == ("ORIGINAL", "PRIMARY", "AXIAL")
    assert "SECRET" not in str(header)


def test_absent_attributes_are_empty():
    header = read(encoded(dataset()))
    assert (header.position, header.orientation, header.spacing) == (None, None, None)
    assert (header.body_part, header.rescale) == ("", False)


def raw(made, keyword, vr, value):
    """Put bytes into an attribute that pydicom would not write by itself."""
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    tag = Tag(keyword)
    made[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
    return made


@pytest.mark.parametrize("value", [b"a\\b\\c ", b"1\\2 ", b"nan\\0\\0 ", b"1\\2\\3\\4 "])
def test_a_senseless_position_is_none_and_the_object_is_taken(value):
    assert read(encoded(raw(dataset(), "ImagePositionPatient", "DS", value))).position is None


def test_an_overlong_or_unprintable_description_is_tamed():
    header = read(encoded(raw(dataset(), "SeriesDescription", "LO", b"x" * 100 + b"\x1b[2Jy")))
    assert header.series_description == "x" * 64
    assert read(encoded(raw(dataset(), "SeriesDescription", "LO", b"a\x07\x00b"))).series_description == "ab"


def test_only_images_need_pixels():
    made = dataset(Modality="SR", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.22")
    del made.Rows, made.Columns, made.PixelData
    assert read_header(encoded(made), made.SOPClassUID, "1.2.3.4").rows is None
    made.SOPClassUID = CT
    with pytest.raises(ObjectError, match="is an image, but has no pixel data"):
        read(encoded(made))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("missing", [1, 31, 32])
def test_truncated_pixels(syntax, missing):
    with pytest.raises(ObjectError, match=f"pixel data has {32 - missing} of 32 bytes") as failure:
        read(encoded(dataset(), syntax)[:-missing])
    assert failure.value.status is Answer.CANNOT_UNDERSTAND


def test_no_truncation_goes_unnoticed():
    content = encoded(dataset())
    for length in range(200, len(content)):
        with pytest.raises(ObjectError):
            read(content[:length])


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"])
def test_every_uid_is_required(keyword):
    made = dataset()
    content_meta = encoded(made)
    assert read(content_meta)
    delattr(made, keyword)
    with pytest.raises(ObjectError) as failure:
        read_header(_without_sop_check(made), CT, "1.2.3.4")
    assert failure.value.code in {Reason.INVALID_UID, Reason.BROKEN_OBJECT}


def _without_sop_check(made):
    from pydicom.filewriter import write_file_meta_info

    buffer = BytesIO()
    buffer.write(bytes(128) + b"DICM")
    write_file_meta_info(buffer, made.file_meta)
    body = BytesIO()
    made.save_as(body, implicit_vr=False, little_endian=True, enforce_file_format=False)
    content = body.getvalue()
    return buffer.getvalue() + content[content.index(b"\x08\x00\x08\x00CS") :]


def test_a_uid_too_long_is_not_cut_into_a_valid_one():
    with pytest.raises(ObjectError, match="81 characters"):
        read(encoded(raw(dataset(), "StudyInstanceUID", "UI", (b"1." * 40) + b"1")))


@pytest.mark.parametrize(
    ("sop_class", "sop_uid", "what"), [("1.9", "1.2.3.4", "SOP Class"), (CT, "1.9", "SOP Instance")]
)
def test_other_uids_than_the_command_said(sop_class, sop_uid, what):
    with pytest.raises(ObjectError, match=f"{what} UID differs") as failure:
        read_header(encoded(dataset()), sop_class, sop_uid)
    assert (failure.value.code, failure.value.status) == (Reason.UID_MISMATCH, Answer.MISMATCH)


@pytest.mark.parametrize("content", [b"", b"DICM", bytes(132), bytes(128) + b"DICM", b"\xff" * 500])
def test_bytes_that_are_no_object(content):
    with pytest.raises(ObjectError, match="broken"):
        read(content)
