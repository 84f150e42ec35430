import resource
import struct
import tracemalloc
import zlib
from io import BytesIO
from pathlib import Path

import pydicom.data
import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from node.dicom import headers
from node.dicom.attributes import TAGS, WANTED
from node.dicom.elements import UnusualEncodingError, walk
from node.dicom.headers import file_header, header_ahead, read_header
from node.dicom.uids import valid_uid
from node.errors import ObjectError, StoreStatus
from node.records.states import Reason

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


def read(content, sop_class=CT, sop_uid="1.2.3.4"):
    """Read a whole file, given as bytes; without file meta information it is one in Explicit VR."""
    start, syntax = 0, ExplicitVRLittleEndian
    if content[128:132] == b"DICM" and len(content) > 200:
        meta = dcmread(BytesIO(content), specific_tags=[], stop_before_pixels=True).file_meta
        start, syntax = 144 + meta.FileMetaInformationGroupLength, meta.TransferSyntaxUID
    return read_header(content, start, syntax, sop_class, sop_uid)


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
def test_an_invalid_position_is_none_and_the_object_is_accepted(value):
    assert read(encoded(raw(dataset(), "ImagePositionPatient", "DS", value))).position is None


def test_an_overlong_or_unprintable_description_is_shortened_and_cleaned():
    header = read(encoded(raw(dataset(), "SeriesDescription", "LO", b"x" * 100 + b"\x1b[2Jy")))
    assert header.series_description == "x" * 64
    assert read(encoded(raw(dataset(), "SeriesDescription", "LO", b"a\x07\x00b"))).series_description == "ab"


def data_set(content):
    meta = dcmread(BytesIO(content), specific_tags=[], stop_before_pixels=True).file_meta
    return memoryview(content)[144 + meta.FileMetaInformationGroupLength :]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_the_header_is_known_as_soon_as_the_pixels_begin(syntax):
    content = encoded(dataset(SeriesDescription="Hip 1.0", PixelSpacing=["0.5", "0.6"]), syntax)
    whole, body = read(content), data_set(content)
    pixels_at = len(body) - 32
    for count in range(len(body) + 1):
        expected = (whole, len(body)) if count >= pixels_at else None
        assert header_ahead(body[:count], syntax, CT, "1.2.3.4") == expected


@pytest.mark.parametrize(("sop_class", "sop_uid"), [("1.2.840.10008.5.1.4.1.1.4", "1.2.3.4"), (CT, "1.2.3.5")])
def test_a_mismatch_with_the_command_is_refused_ahead_too(sop_class, sop_uid):
    with pytest.raises(ObjectError, match="differs between the C-STORE command and the data set"):
        header_ahead(data_set(encoded(dataset())), ExplicitVRLittleEndian, sop_class, sop_uid)


def test_what_is_not_plain_is_not_read_ahead():
    body = bytearray(data_set(encoded(dataset())))
    assert header_ahead(memoryview(body), DeflatedExplicitVRLittleEndian, CT, "1.2.3.4") is None
    body[-36:-32] = b"\xff" * 4  # compressed pixels have no length of their own
    assert header_ahead(memoryview(body), ExplicitVRLittleEndian, CT, "1.2.3.4") is None


def test_only_images_need_pixels():
    made = dataset(Modality="SR", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.22")
    del made.Rows, made.Columns, made.PixelData
    assert read(encoded(made), made.SOPClassUID).rows is None
    made.SOPClassUID = CT
    with pytest.raises(ObjectError, match="is an image, but has no pixel data"):
        read(encoded(made))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("missing", [1, 31, 32])
def test_truncated_pixels(syntax, missing):
    with pytest.raises(ObjectError, match=f"pixel data has {32 - missing} of 32 bytes") as failure:
        read(encoded(dataset(), syntax)[:-missing])
    assert failure.value.status is StoreStatus.CANNOT_UNDERSTAND


def test_no_truncation_goes_unnoticed():
    content = encoded(dataset())
    start = content.index(b"\x08\x00\x08\x00CS")
    for length in range(start, len(content)):
        with pytest.raises(ObjectError):
            read_header(content[:length], start, ExplicitVRLittleEndian, CT, "1.2.3.4")


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"])
def test_every_uid_is_required(keyword):
    made = dataset()
    content_meta = encoded(made)
    assert read(content_meta)
    delattr(made, keyword)
    with pytest.raises(ObjectError) as failure:
        read(_without_sop_check(made))
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
def test_uids_that_differ_from_the_command(sop_class, sop_uid, what):
    with pytest.raises(ObjectError, match=f"{what} UID differs") as failure:
        read(encoded(dataset()), sop_class, sop_uid)
    assert (failure.value.code, failure.value.status) == (Reason.UID_MISMATCH, StoreStatus.MISMATCH)


@pytest.mark.parametrize("content", [b"", b"DICM", bytes(132), bytes(128) + b"DICM", b"\xff" * 500])
def test_bytes_that_are_not_an_object(content):
    with pytest.raises(ObjectError, match="broken"):
        read(content)


CORPUS = sorted(Path(pydicom.data.__file__).parent.rglob("*.dcm"))


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_the_fast_reader_reads_what_pydicom_reads(path):
    """pydicom's own test files: odd encodings, character sets, broken and hostile ones."""
    content = path.read_bytes()
    try:
        meta = read_file_meta_info(path)
        start, syntax = 144 + meta.FileMetaInformationGroupLength, meta.TransferSyntaxUID
        quick, _ = walk(content, start, syntax != ImplicitVRLittleEndian, WANTED)
        slow, _ = headers.values_by_pydicom(content, start, syntax)
    except (UnusualEncodingError, ObjectError, InvalidDicomError, AttributeError) as reason:
        pytest.skip(f"left to pydicom: {reason}")
    quick[TAGS["SpecificCharacterSet"]] = quick.get(TAGS["SpecificCharacterSet"], b"").strip()
    slow.setdefault(TAGS["SpecificCharacterSet"], b"")
    assert quick == slow


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_every_file_of_the_corpus_has_a_header_or_a_reason(path):
    try:
        header = file_header(path)
    except ObjectError as reason:
        assert str(reason).startswith(("the object is broken", "the Study", "the Series", "the SOP", "its SOP"))
    else:
        assert valid_uid(header.sop_uid) and valid_uid(header.series_uid)


def nested(depth):
    inner = Dataset()
    inner.PatientComments = "x"
    for _ in range(depth):
        outer = Dataset()
        outer.ReferencedImageSequence = [inner]
        outer["ReferencedImageSequence"].is_undefined_length = True
        outer.ReferencedImageSequence[0].is_undefined_length_sequence_item = True
        inner = outer
    return inner.ReferencedImageSequence


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("depth", [1, 5, 60])
def test_sequences_of_undefined_length_are_walked_over(syntax, depth):
    made = dataset(BodyPartExamined="HIP", Rows=4)
    made.ReferencedImageSequence = nested(depth)
    made["ReferencedImageSequence"].is_undefined_length = True
    header = read(encoded(made, syntax))
    assert (header.rows, header.body_part) == (4, "HIP")


def test_what_routing_needs():
    made = dataset(
        SliceThickness="1.25", ConvolutionKernel="B30f", AcquisitionNumber=2, ImagesInAcquisition=300,
        NumberOfSeriesRelatedInstances=301, ContrastBolusAgent="Iohexol",
    )  # fmt: skip
    header = read(encoded(made))
    assert (header.thickness, header.kernel, header.contrast) == (1.25, "B30f", True)
    assert (header.acquisition, header.images_in_acquisition, header.series_instances) == (2, 300, 301)


@pytest.mark.parametrize(("agent", "expected"), [("", False), ("NONE", False), ("no", False), ("Ultravist 370", True)])
def test_a_contrast_agent_is_one_that_is_named(agent, expected):
    assert read(encoded(dataset(ContrastBolusAgent=agent))).contrast is expected


def deflated(data_set):
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return packer.compress(data_set) + packer.flush()


def as_deflated(made):
    content = encoded(made)
    start = content.index(b"\x08\x00\x08\x00CS")
    return content[start:]


def test_a_deflated_data_set_is_read_and_its_pixels_counted():
    data_set = as_deflated(dataset(BodyPartExamined="HIP"))
    header = read_header(deflated(data_set), 0, DeflatedExplicitVRLittleEndian, CT, "1.2.3.4")
    assert (header.rows, header.body_part) == (4, "HIP")
    for broken, words in (
        (deflated(data_set[:-5]), "of 32 bytes"),
        (deflated(data_set)[:-10], "has no end"),
        (b"\xff" * 50, "cannot be inflated"),
    ):
        with pytest.raises(ObjectError, match=words):
            read_header(broken, 0, DeflatedExplicitVRLittleEndian, CT, "1.2.3.4")


def test_a_deflate_bomb_is_refused_and_needs_little_memory():
    bomb = deflated(as_deflated(dataset()) + bytes(300_000_000))
    assert len(bomb) < 1_000_000
    tracemalloc.start()
    with pytest.raises(ObjectError, match="grows by a factor of more than"):
        read_header(bomb, 0, DeflatedExplicitVRLittleEndian, CT, "1.2.3.4")
    assert tracemalloc.get_traced_memory()[1] < 60_000_000
    tracemalloc.stop()


def explicit(group, element, vr, value, length=None):
    """Encode an element in the long form of Explicit VR Little Endian."""
    return struct.pack("<HH2sHI", group, element, vr, 0, len(value) if length is None else length) + value


def with_elements(*inserted):
    """Return the bytes of an object with elements before its Modality."""
    content = encoded(dataset(BodyPartExamined="HIP"))
    at = content.index(b"\x08\x00\x60\x00CS")
    return content[:at] + b"".join(inserted) + content[at:]


EMPTY_ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def test_an_unknown_value_of_undefined_length_is_walked_over():
    """PS3.5 6.2.2: what is in it is encoded in Implicit VR."""
    inside = struct.pack("<HHI", 0x0009, 0x1010, 2) + b"ab"
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + inside + struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
    content = with_elements(explicit(0x0009, 0x1001, b"UN", item * 2 + SEQUENCE_END, 0xFFFFFFFF))
    values, _ = walk(content, data_set_start(content), True, WANTED)
    assert values[TAGS["BodyPartExamined"]] == b"HIP "
    assert read(content).rows == 4


INVALID_VRS = {"NULs": b"\0\0", "question marks": b"??", "spaces": b"  ", "lower case": b"lo", "bytes": b"\xff\xff"}


@pytest.mark.parametrize("vr", INVALID_VRS.values(), ids=INVALID_VRS)
@pytest.mark.parametrize("value", [b"", b"ABCD"])
def test_an_element_with_an_invalid_vr_has_two_bytes_of_length_as_in_dcmtk(vr, value):
    odd = struct.pack("<HH2sH", 0x0009, 0x1001, vr, len(value)) + value
    header = read(with_elements(odd, odd))
    assert (header.rows, header.body_part, header.modality) == (4, "HIP", "CT")


def test_an_element_with_a_vr_of_the_future_has_four_bytes_of_length():
    assert read(with_elements(explicit(0x0009, 0x1001, b"XX", b"ABCD"))).body_part == "HIP"


@pytest.mark.parametrize("tag", ["Rows", "BodyPartExamined"])
def test_a_wanted_element_with_an_invalid_vr_is_read(tag):
    content = encoded(dataset(BodyPartExamined="HIP"))
    at = content.index(struct.pack("<HH", TAGS[tag] >> 16, TAGS[tag] & 0xFFFF) + {"Rows": b"US"}.get(tag, b"CS"))
    header = read(content[: at + 4] + b"\0\0" + content[at + 6 :])
    assert (header.rows, header.body_part) == (4, "HIP")


def test_an_implicit_data_set_that_is_called_explicit_is_read():
    content, plain = (
        encoded(dataset(BodyPartExamined="HIP"), s) for s in (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
    )
    header = read(content[: data_set_start(content)] + plain[data_set_start(plain) :])
    assert (header.rows, header.body_part) == (4, "HIP")


def test_an_element_that_cannot_be_read_is_named():
    with pytest.raises(ObjectError, match=r"cannot be read at the element \(0009,1001\)"):
        read_plain(with_elements(explicit(0x0009, 0x1001, b"SQ", b"NOT A SEQUENCE AT ALL ", 0xFFFFFFFF)))


def test_a_deflated_data_set_has_an_absolute_limit(monkeypatch):
    data_set = encoded(dataset())[data_set_start(encoded(dataset())) :]
    monkeypatch.setattr("node.dicom.headers.MOST_INFLATED", len(data_set) - 1)
    with pytest.raises(ObjectError, match="grows beyond 0 MB; send it uncompressed"):
        read_header(deflated(data_set), 0, DeflatedExplicitVRLittleEndian, CT, "1.2.3.4")


def test_a_data_set_of_many_empty_items_needs_little_memory():
    content = with_elements(explicit(0x0009, 0x1001, b"SQ", EMPTY_ITEM * 1_000_000, 0xFFFFFFFF))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ObjectError, match="broken"):
        read_plain(content)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 250_000


@pytest.mark.parametrize("vr", [b"UT", b"UC", b"UN"])
def test_only_the_beginning_of_an_endless_value_is_kept(vr):
    made = encoded(dataset(BodyPartExamined="HIP"))
    at = made.index(b"\x20\x00\x0d\x00UI")
    content = made[:at] + explicit(0x0018, 0x1210, vr, b"\xe9" * 20_000_000) + made[at:]
    tracemalloc.start()
    assert len(read_plain(content).kernel) <= 64
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def read_plain(content):
    """Read a whole file in Explicit VR by our own means alone."""
    return read_header(content, data_set_start(content), ExplicitVRLittleEndian, CT, "1.2.3.4")


def data_set_start(content):
    return 144 + int.from_bytes(content[140:144], "little")


@pytest.mark.parametrize("value", [b"2147483648", b"-99999999999", b"9" * 4000, b"1e5", b""])
def test_a_count_beyond_its_type_is_none(value):
    made = raw(raw(dataset(), "NumberOfFrames", "IS", value), "ImagesInAcquisition", "IS", value)
    header = read(encoded(made))
    assert (header.frames, header.images_in_acquisition) == (1, None)


def test_a_hostile_frame_of_reference_is_safe_in_log_and_database():
    header = read(encoded(raw(dataset(), "FrameOfReferenceUID", "UI", b"1.2\0\n\x1b[2J" + b"9" * 500)))
    assert header.frame_of_reference.isprintable() and len(header.frame_of_reference) == 64
