"""The gate: a faithful SEG passes; every single thing changed in the file is noticed."""

from datetime import datetime

import numpy as np
import pytest
from ct_factory import ORIENTATIONS, CtSpec, write_ct, write_enhanced
from pydicom import dcmread

from segmenter.dicom_common import ResultIdentity
from segmenter.dicom_seg import write_seg
from segmenter.errors import Reason, SegmenterError, Verdict
from segmenter.femur import Side
from segmenter.readback import check_seg
from segmenter.series import read_series

IDENTITY = ResultIdentity("femur-vnet", "1.2.3", "ab" * 32, "cd" * 32, datetime(2024, 5, 2, 8, 9, 10))


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A series, its masks and the SEG of them, on the most general grid."""
    folder, spec = tmp_path_factory.mktemp("released"), CtSpec(orientation=ORIENTATIONS["oblique"])
    series = read_series(write_ct(folder / "ct", spec))
    masks = dict(zip((Side.LEFT, Side.RIGHT), spec.balls(), strict=True))
    return series, masks, write_seg(series, masks, IDENTITY, folder / "seg.dcm")


@pytest.mark.parametrize("sides", [(Side.LEFT,), (Side.RIGHT,), (Side.LEFT, Side.RIGHT)])
@pytest.mark.parametrize("orientation", ORIENTATIONS.values(), ids=ORIENTATIONS)
@pytest.mark.parametrize("write", [write_ct, write_enhanced])
def test_a_faithful_seg_passes(tmp_path, write, orientation, sides):
    spec = CtSpec(orientation=orientation)
    series = read_series(write(tmp_path, spec))
    masks = {side: mask for side, mask in zip((Side.LEFT, Side.RIGHT), spec.balls(), strict=True) if side in sides}
    check_seg(write_seg(series, masks, IDENTITY, tmp_path / "seg.dcm"), series, masks)


def test_a_slice_wandering_within_tolerance_still_finds_its_place(tmp_path):
    def edit(index, ds):
        x, y, z = ds.ImagePositionPatient
        ds.ImagePositionPatient = [x, y, float(z) + (0.2 if index % 3 else -0.1)]

    spec = CtSpec()
    series = read_series(write_ct(tmp_path, spec, edit))
    masks = {Side.LEFT: spec.balls()[0]}
    check_seg(write_seg(series, masks, IDENTITY, tmp_path / "seg.dcm"), series, masks)


def frame(seg, number=4):
    return seg.PerFrameFunctionalGroupsSequence[number]


def source(seg):
    return frame(seg).DerivationImageSequence[0].SourceImageSequence[0]


def flip_a_bit(seg):
    pixels = bytearray(seg.PixelData)
    pixels[len(pixels) // 2] ^= 8
    seg.PixelData = bytes(pixels)


def shift_frame(seg):
    place = frame(seg).PlanePositionSequence[0]
    place.ImagePositionPatient = [float(place.ImagePositionPatient[0]) + 0.01, *place.ImagePositionPatient[1:]]


def drop_frame(seg):
    pixels = seg.pixel_array
    keep = [n for n in range(seg.NumberOfFrames) if n != 3]
    seg.PerFrameFunctionalGroupsSequence = [frame(seg, n) for n in keep]
    seg.NumberOfFrames = len(keep)
    packed = np.packbits(pixels[keep].ravel(), bitorder="little").tobytes()
    seg.PixelData = packed + b"\0" * (len(packed) % 2)


def swap_sides(seg):
    left, right = (s.SegmentedPropertyTypeCodeSequence[0] for s in seg.SegmentSequence)
    a, b = left.SegmentedPropertyTypeModifierCodeSequence, right.SegmentedPropertyTypeModifierCodeSequence
    left.SegmentedPropertyTypeModifierCodeSequence, right.SegmentedPropertyTypeModifierCodeSequence = b, a
    for segment, label in zip(seg.SegmentSequence, ("Right", "Left"), strict=True):
        segment.SegmentLabel = label


def same_side_twice(seg):
    for segment in seg.SegmentSequence:
        segment.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence[0].CodeValue = "7771000"


def share_segment(seg):
    seg.SharedFunctionalGroupsSequence[0].SegmentIdentificationSequence = frame(seg).SegmentIdentificationSequence
    del frame(seg).SegmentIdentificationSequence


def other_instance(seg):
    source(seg).ReferencedSOPInstanceUID = (
        frame(seg, 5).DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
    )


def turn(seg):
    orientation = seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    orientation.ImageOrientationPatient = list(orientation.ImageOrientationPatient)[::-1]


def respace(seg):
    seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = ["2.0", "2.5"]


TAMPERED = {
    "a pixel": (flip_a_bit, "1 voxels"),
    "left is right": (swap_sides, "voxels of the left femur differ"),
    "a frame's place": (shift_frame, "at the frame's position"),
    "a frame's source": (other_instance, "at the frame's position"),
    "a missing frame": (drop_frame, "without holes"),
    "two left femora": (same_side_twice, "laterality"),
    "label of the other side": (
        lambda seg: setattr(seg.SegmentSequence[0], "SegmentLabel", "Right proximal femur"), "label"
    ),
    "no side": (
        lambda seg: delattr(seg.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0],
                            "SegmentedPropertyTypeModifierCodeSequence"),
        "laterality",
    ),
    "no colour": (lambda seg: delattr(seg.SegmentSequence[1], "RecommendedDisplayCIELabValue"), "a colour"),
    "segment in shared groups": (share_segment, "without holes"),
    "no derivation": (lambda seg: delattr(frame(seg), "DerivationImageSequence"), "source image"),
    "no alignment": (lambda seg: delattr(source(seg), "SpatialLocationsPreserved"), "SpatialLocationsPreserved"),
    "no series reference": (lambda seg: delattr(seg, "ReferencedSeriesSequence"), "one referenced series"),
    "a slice not listed": (
        lambda seg: seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence.pop(0), "one referenced series"
    ),
    "orientation": (turn, "orientation"),
    "spacing": (respace, "spacing"),
    "fractional": (lambda seg: setattr(seg, "SegmentationType", "FRACTIONAL"), "binary"),
    "other study": (lambda seg: setattr(seg, "StudyInstanceUID", "1.2.3"), "study"),
    "other frame of reference": (lambda seg: setattr(seg, "FrameOfReferenceUID", "1.2.3"), "frame of reference"),
}  # fmt: skip


@pytest.mark.parametrize(("tamper", "words"), TAMPERED.values(), ids=TAMPERED)
def test_every_change_is_noticed(tmp_path, released, tamper, words):
    series, masks, path = released
    seg = dcmread(path)
    tamper(seg)
    seg.save_as(tmp_path / "tampered.dcm")
    with pytest.raises(SegmenterError, match="the segmentation was not released") as refusal:
        check_seg(tmp_path / "tampered.dcm", series, masks)
    assert (refusal.value.reason, refusal.value.verdict) == (Reason.READBACK, Verdict.FAILED)
    assert words in str(refusal.value)


def test_a_side_too_few_is_noticed(tmp_path, released):
    series, masks, _ = released
    path = write_seg(series, {Side.LEFT: masks[Side.LEFT]}, IDENTITY, tmp_path / "seg.dcm")
    with pytest.raises(SegmenterError, match=r"holds the sides .*left.*masks are .*right"):
        check_seg(path, series, masks)


@pytest.mark.parametrize("keep", [0, 100, 3000, -40])
def test_a_file_cut_off_is_not_released(tmp_path, released, keep):
    series, masks, path = released
    (tmp_path / "cut.dcm").write_bytes(path.read_bytes()[:keep])
    with pytest.raises(SegmenterError, match="not released") as refusal:
        check_seg(tmp_path / "cut.dcm", series, masks)
    assert refusal.value.verdict is Verdict.FAILED
