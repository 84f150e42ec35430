"""Whatever bytes an object holds: the node reads its header or refuses, the segmenter reads it or names a reason."""

import contextlib
import resource
import shutil
import struct
import zlib

import pytest
from ct_factory import CtSpec, write_ct, write_enhanced
from fuzzing import fuzz, mutated, mutations
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from node.decide.candidate import Candidate
from node.decide.completeness import judge
from node.decide.ranking import rank
from node.dicom.headers import file_header, read_header
from node.dicom.uids import CT_CLASSES, valid_uid
from node.errors import ObjectError
from node.records.instances import Header
from node.records.jobs import Evidence
from node.records.states import JobState
from node.settings.sections import Intake
from segmenter.errors import Reason, SegmenterError
from segmenter.read.folder import find_series
from segmenter.read.hounsfield import read_volume
from segmenter.read.pixels import DECODER_ERRORS, open_pixels
from segmenter.read.series import read_series

pytestmark = pytest.mark.filterwarnings("ignore:::pydicom", "ignore::UserWarning")

SMALL = CtSpec(shape=(6, 36, 40), spacing=(10.0, 1.3, 1.2))
SYNTAXES = (
    ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless
)  # fmt: skip
MOST_KB = 400_000
"""What reading a few kilobytes may add to the process at most, whatever they say."""


def in_syntax(path, syntax):
    """Write a file anew in another transfer syntax; returns its bytes."""
    dataset = Dataset(dcmread(path))
    dataset.file_meta = dcmread(path).file_meta
    if syntax in (RLELossless, JPEG2000Lossless):
        dataset.compress(syntax, generate_instance_uid=False)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(
        path, enforce_file_format=True, implicit_vr=syntax.is_implicit_VR, little_endian=syntax != ExplicitVRBigEndian
    )
    return path.read_bytes()


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: UID(uid).name)
@pytest.mark.parametrize("write", [write_ct, write_enhanced])
def test_a_header_or_a_reason(tmp_path, syntax, write):
    path = write(tmp_path, SMALL)[0]
    content, whole = in_syntax(path, syntax), file_header(path)
    start = 144 + int.from_bytes(content[140:144], "little")
    bare = content[start:]
    if syntax == DeflatedExplicitVRLittleEndian:
        bare = zlib.decompress(bare, -zlib.MAX_WBITS)

    @fuzz(150)
    @given(changes=mutations(len(bare)), inside=st.booleans())
    def search(changes, inside):
        changed = mutated(bare, changes)
        if syntax == DeflatedExplicitVRLittleEndian:
            packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
            changed = packer.compress(changed) + packer.flush() if inside else mutated(content[start:], changes)
        try:
            header = read_header(content[:start] + changed, start, syntax, whole.sop_class_uid, whole.sop_uid)
        except ObjectError as reason:
            assert str(reason)
        else:
            harmless(header)

    search()


def harmless(header):
    """What goes into the ledger and from there into decisions is of the size and kind that DICOM gives it."""
    assert isinstance(header, Header)
    assert valid_uid(header.study_uid) and valid_uid(header.series_uid)
    for value in vars(header).values():
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, str):
                assert len(part) <= 64 and part.isprintable()
            if isinstance(part, int):
                assert abs(part) <= 2**31


@pytest.fixture(scope="module")
def series_folders(tmp_path_factory):
    """Folders with a small CT: single-frame and enhanced, plain and compressed."""
    made = []
    for write in (write_ct, write_enhanced):
        for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless, JPEG2000Lossless):
            folder = tmp_path_factory.mktemp("series")
            for path in write(folder, SMALL):
                in_syntax(path, syntax)
            made.append(folder)
    return made


def segmenter_reads(folder):
    """Read a folder as the segmenter does; returns the reason when it refuses."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        read_volume(read_series(find_series(folder)))
    except SegmenterError as refusal:
        assert refusal.reason in Reason and str(refusal)
        return refusal.reason
    finally:
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_KB
    return None


def test_the_small_series_are_good(series_folders):
    assert [segmenter_reads(folder) for folder in series_folders] == [None] * len(series_folders)


def test_a_volume_or_a_reason(series_folders, tmp_path):
    @fuzz(250)
    @given(data=st.data())
    def search(data):
        folder = data.draw(st.sampled_from(series_folders))
        path = data.draw(st.sampled_from(sorted(folder.iterdir())))
        content = path.read_bytes()
        # Half of the changes go to the headers.
        changes = data.draw(mutations(data.draw(st.sampled_from([len(content), 1500]))))
        trial = tmp_path / "trial"
        shutil.rmtree(trial, ignore_errors=True)
        shutil.copytree(folder, trial)
        (trial / path.name).write_bytes(mutated(content, changes))
        segmenter_reads(trial)

    search()


def test_frames_out_of_a_large_file_or_a_reason(series_folders, tmp_path):
    folders = [folder for folder in series_folders if len(list(folder.iterdir())) == 1]

    @fuzz(100)
    @given(data=st.data())
    def search(data):
        (path,) = data.draw(st.sampled_from(folders)).iterdir()
        content = path.read_bytes()
        trial = tmp_path / "trial.dcm"
        trial.write_bytes(mutated(content, data.draw(mutations(len(content)))))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with contextlib.suppress(SegmenterError, *DECODER_ERRORS):
            read_series([trial])
            with open_pixels(trial, 0) as (_, frames):
                assert all(cells.ndim == 2 for cells in frames)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_KB

    search()


LIES = {
    "Rows": [0, 1, 65535], "Columns": [0, 1, 65535], "BitsAllocated": [0, 1, 8, 32, 64, 65535],
    "BitsStored": [0, 65535], "HighBit": [0, 65535], "PixelRepresentation": [1, 2, 65535],
    "SamplesPerPixel": [0, 3, 65535],
    "NumberOfFrames": ["0", "-1", "2147483647", "1"], "PhotometricInterpretation": ["", "RGB", "PALETTE COLOR"],
    "PixelSpacing": [["0", "0"], ["1e308", "1e308"], ["9999", "9999"], ["-1", "1"], ["1e-308", "1"], ["1"]],
    "ImagePositionPatient": [["0", "0", "1e308"], ["-1e308", "1e308", "1e308"], ["0", "0"]],
    "ImageOrientationPatient": [["0"] * 6, ["1e308"] * 6, ["1", "0", "0", "1", "0", "0"]],
    "RescaleSlope": ["0", "1e308", "-1e308", "1e-308"], "RescaleIntercept": ["1e308", "-1e308"],
    "PlanarConfiguration": [1, 65535], "AcquisitionNumber": ["", "-1", "2147483647"],
    "GantryDetectorTilt": ["", "1e308", "90"],
}  # fmt: skip


@pytest.mark.parametrize("keyword", LIES)
def test_a_lie_in_the_headers_is_refused_by_name_or_harmless(series_folders, tmp_path, keyword):
    for number, value in enumerate(LIES[keyword]):
        for folder in series_folders:
            for everywhere in (True, False):
                trial = shutil.copytree(folder, tmp_path / f"{number}-{folder.name}-{everywhere}")
                for path in sorted(trial.iterdir())[: None if everywhere else 1]:
                    tell(path, keyword, value)
                segmenter_reads(trial)


def tell(path, keyword, value):
    """Set a value wherever a file has it, in the data set and in functional groups."""
    dataset = dcmread(path)
    for item in [dataset, *(nested for element in dataset if element.VR == "SQ" for nested in groups(element))]:
        if keyword in item or (item is dataset and not any(element.VR == "SQ" for element in dataset)):
            setattr(item, keyword, value)
    dataset.save_as(path)


ABSURD = {
    "too wide a plane": (dict.fromkeys(["Rows", "Columns"], 65535), Reason.UNREADABLE, "65535 x 65535 pixels"),
    "too long": ({"PixelSpacing": ["500", "500"]}, Reason.MISSING_GEOMETRY, "20 m long"),
    "overflow": ({"PixelSpacing": ["1e308", "1e308"]}, Reason.MISSING_GEOMETRY, "2 valid numbers in PixelSpacing"),
    "steep": ({"RescaleSlope": "1e300"}, Reason.MISSING_RESCALE, "valid rescale slope"),
    "many frames": ({"NumberOfFrames": "2147483647"}, Reason.UNREADABLE, "cannot be decoded"),
}


@pytest.mark.parametrize(("values", "reason", "words"), ABSURD.values(), ids=ABSURD)
def test_absurd_sizes_have_a_reason(tmp_path, values, reason, words):
    files = write_ct(tmp_path, CtSpec(shape=SMALL.shape, spacing=SMALL.spacing, tags=values))
    for path in files:
        for keyword, value in values.items():
            tell(path, keyword, value)
    with pytest.raises(SegmenterError, match=words) as refusal:
        read_volume(read_series(files))
    assert refusal.value.reason is reason


def test_a_deep_nest_is_no_crash(tmp_path):
    files = write_ct(tmp_path, SMALL)
    content = files[0].read_bytes()
    at = content.index(b"\x28\x00\x02\x00US")
    nest = struct.pack("<HH2sHI", 0x0020, 0x9999, b"SQ", 0, 0xFFFFFFFF)
    step = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + nest
    files[0].write_bytes(content[:at] + nest + step * 20_000 + content[at:])
    with pytest.raises(SegmenterError, match="cannot be read as DICOM"):
        read_series(files)
    with pytest.raises(ObjectError):
        file_header(files[0])


def groups(sequence):
    """Yield the items of a sequence and of the sequences in them."""
    for item in sequence.value:
        yield item
        for element in item:
            if element.VR == "SQ":
                yield from groups(element)


@pytest.mark.parametrize(
    "tag", [b"\x08\x00\x16\x00UI", b"\x20\x00\x0e\x00UI", b"\x20\x00\x32\x00DS", b"\x28\x00\x10\x00US"]
)
@pytest.mark.parametrize("vr", [b"TI", b"FD", b"\0\0"])
def test_a_value_of_an_odd_kind_is_read_or_has_a_reason(tmp_path, tag, vr):
    files = write_ct(tmp_path, SMALL)
    for path in files:
        path.write_bytes(path.read_bytes().replace(tag, tag[:4] + vr))
    segmenter_reads(tmp_path)
    if vr == b"TI":
        with pytest.raises(SegmenterError):
            read_series(files)


WILD = st.sampled_from([0.0, -0.0, 1.0, 2.0, -5.5, 1e-308, 1e308, -1e308, 5e-324, 1e16, 0.1])
COUNTS = st.sampled_from([None, 0, 1, -1, 2, 3, 2**31 - 1, 1 - 2**31])
HEADERS = st.builds(
    Header,
    study_uid=st.just("1.2"), series_uid=st.just("1.2.3"), sop_uid=st.integers(0, 50).map(lambda n: f"1.{n}"),
    sop_class_uid=st.sampled_from(sorted(CT_CLASSES)), modality=st.just("CT"), rescale=st.just(True),
    rows=st.sampled_from([None, 0, 512, 65535]), columns=st.sampled_from([None, 0, 512]),
    frames=COUNTS.map(lambda n: n or 1), position=st.none() | st.tuples(WILD, WILD, WILD),
    orientation=st.none() | st.just((1.0, 0.0, 0.0, 0.0, 1.0, 0.0)) | st.tuples(*[WILD] * 6),
    spacing=st.none() | st.tuples(WILD, WILD), thickness=st.none() | WILD, acquisition=COUNTS,
    images_in_acquisition=COUNTS, series_instances=COUNTS,
)  # fmt: skip
EVIDENCE = st.builds(
    Evidence, quiet=st.sampled_from([0.0, 20.0]), waited=st.sampled_from([0.0, 20.0, 700.0]), expected=COUNTS,
    ended=st.sampled_from([None, 0.0, 5.0]),
)  # fmt: skip


@fuzz(500)
@given(st.lists(HEADERS, min_size=1, max_size=8), EVIDENCE)
def test_decisions_stand_whatever_the_headers_say(headers, evidence):
    assert judge(headers, evidence, Intake()).state in JobState
    assert len(rank([Candidate.read(headers)] * 2)) == 2
