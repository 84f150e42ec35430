"""Every rule of the gate refuses a good SEG that was changed in the one way the rule is there for."""

from types import MappingProxyType

import numpy as np
import pytest
from ct_factory import OBLIQUE
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from seg_factory import CHECKS, IDENTITY, WRITERS, case_of

from segmenter.errors import Reason, SegmenterError, Verdict
from segmenter.objects.viewer_rules import RULES

KIND = "a binary segmentation or a label map, named so throughout"
PIXELS = "plain pixels, as many as the frames need"
DISJOINT = "segments that do not overlap"
STUDY = "the source's study and frame of reference, in a series of its own"
GRID = "the source's rows, columns, spacing and orientation"
SOURCES = "one referenced series with every slice of the source"
PLACE = "each frame's one source image in the series and at the frame's position"
ALIGNED = "SpatialLocationsPreserved YES on each frame"
NAMED = "each frame names its segment, each segment has frames"
HOLES = "frames by segment, then slice by slice without holes"
INDICES = "dimension indices by segment and position, in the order of the frames"
STEPS = "a declared spacing that leads from frame to frame"
ORDER = "segments listed as 1, 2, ... and the background last"
BACKGROUND = "0 described as the background of a label map"
SIDES = "each segment with a laterality of its own and a fitting label"
COLOURS = "each segment with a colour of its own"
CODES = "each segment with codes of SNOMED CT and an algorithm"
SHOWN = "no name that makes a viewer hide it"


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A series, its masks and both kinds of SEG of them, on the most general grid."""
    folder = tmp_path_factory.mktemp("released")
    series, masks = case_of(folder / "ct", orientation=OBLIQUE)
    return series, masks, {name: write(series, masks, IDENTITY, folder / name) for name, write in WRITERS.items()}


def put(keyword, value):
    return lambda seg: setattr(seg, keyword, value)


def drop(keyword):
    return lambda seg: delattr(seg, keyword)


def shared(seg):
    return seg.SharedFunctionalGroupsSequence[0]


def measures(seg):
    return shared(seg).PixelMeasuresSequence[0]


def frame(seg, number=4):
    return seg.PerFrameFunctionalGroupsSequence[number]


def source(seg):
    return frame(seg).DerivationImageSequence[0].SourceImageSequence[0]


def kind(seg):
    return seg.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0]


def on(part, change):
    """Make a change not to the whole object but to a part of it."""
    return lambda seg: change(part(seg))


def first_segment(seg):
    return seg.SegmentSequence[0]


def keep_frames(seg, keep):
    pixels = seg.pixel_array[list(keep)]
    seg.PerFrameFunctionalGroupsSequence = [frame(seg, n) for n in keep]
    seg.NumberOfFrames = len(keep)
    flat = pixels.ravel() if seg.BitsAllocated == 8 else np.packbits(pixels.ravel(), bitorder="little")
    seg.PixelData = flat.tobytes() + b"\0" * (len(flat.tobytes()) % 2)


def drop_frame(seg):
    keep_frames(seg, [n for n in range(seg.NumberOfFrames) if n != 3])


def empty_segment(seg):
    """Describe two femurs and show one."""
    keep_frames(seg, [n for n in range(seg.NumberOfFrames)
                      if frame(seg, n).SegmentIdentificationSequence[0].ReferencedSegmentNumber == 1])  # fmt: skip


def same_side_twice(seg):
    for segment in seg.SegmentSequence[:2]:
        segment.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence[0].CodeValue = "7771000"


def share_segment(seg):
    shared(seg).SegmentIdentificationSequence = frame(seg).SegmentIdentificationSequence
    del frame(seg).SegmentIdentificationSequence


def name_segment(seg):
    frame(seg).SegmentIdentificationSequence = [Dataset()]
    frame(seg).SegmentIdentificationSequence[0].ReferencedSegmentNumber = 1


def other_instance(seg):
    source(seg).ReferencedSOPInstanceUID = (
        frame(seg, 5).DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
    )


def second_source(seg):
    frame(seg).DerivationImageSequence[0].SourceImageSequence.append(
        frame(seg, 5).DerivationImageSequence[0].SourceImageSequence[0]
    )


def shift_frame(seg):
    place = frame(seg).PlanePositionSequence[0]
    place.ImagePositionPatient = [float(place.ImagePositionPatient[0]) + 0.01, *place.ImagePositionPatient[1:]]


def swap_indices(seg):
    one, other = frame(seg, 3).FrameContentSequence[0], frame(seg, 4).FrameContentSequence[0]
    one.DimensionIndexValues, other.DimensionIndexValues = other.DimensionIndexValues, one.DimensionIndexValues


def turn(seg):
    orientation = shared(seg).PlaneOrientationSequence[0]
    orientation.ImageOrientationPatient = list(orientation.ImageOrientationPatient)[::-1]


def same_colour(seg):
    left, right, *_ = seg.SegmentSequence
    right.RecommendedDisplayCIELabValue = left.RecommendedDisplayCIELabValue


def background_first(seg):
    seg.SegmentSequence = [seg.SegmentSequence[-1], *seg.SegmentSequence[:-1]]


# name -> the kinds it is tried on, the change, the rule that must be among those broken
BOTH = ("binary", "labelmap")
BROKEN = MappingProxyType({
    "fractional": (BOTH, put("SegmentationType", "FRACTIONAL"), KIND),
    "the other SOP class": (("labelmap",), put("SOPClassUID", "1.2.840.10008.5.1.4.1.1.66.4"), KIND),
    "an image, not a SEG": (BOTH, put("Modality", "CT"), KIND),
    "another name in the file meta": (
        BOTH, on(lambda seg: seg.file_meta, put("MediaStorageSOPInstanceUID", "1.2.3")), KIND
    ),
    "implicit VR": (BOTH, on(lambda seg: seg.file_meta, put("TransferSyntaxUID", ImplicitVRLittleEndian)), PIXELS),
    "inverted": (BOTH, put("PhotometricInterpretation", "MONOCHROME1"), PIXELS),
    "palette": (("labelmap",), put("PhotometricInterpretation", "PALETTE COLOR"), PIXELS),
    "a frame more than described": (BOTH, lambda seg: put("NumberOfFrames", seg.NumberOfFrames + 1)(seg), PIXELS),
    "pixels too few": (BOTH, lambda seg: put("PixelData", seg.PixelData[:-2])(seg), PIXELS),
    "pixels too many": (BOTH, lambda seg: put("PixelData", seg.PixelData + b"\0\0")(seg), PIXELS),
    "overlap not known": (BOTH, put("SegmentsOverlap", "UNDEFINED"), DISJOINT),
    "overlap not told": (BOTH, drop("SegmentsOverlap"), DISJOINT),
    "another study": (BOTH, put("StudyInstanceUID", "1.2.3"), STUDY),
    "another frame of reference": (BOTH, put("FrameOfReferenceUID", "1.2.3"), STUDY),
    "the source's own series": (BOTH, put("SeriesInstanceUID", "1.2.826.0.1.3680043.9.3"), STUDY),
    "orientation": (BOTH, turn, GRID),
    "rows and columns": (BOTH, lambda seg: (put("Rows", seg.Columns)(seg), put("Columns", seg.Rows)(seg)), GRID),
    "spacing": (BOTH, on(measures, put("PixelSpacing", ["2.0", "2.5"])), GRID),
    "no thickness": (BOTH, on(measures, drop("SliceThickness")), GRID),
    "spacing of slices a little off": (BOTH, on(measures, put("SpacingBetweenSlices", "3.01")), GRID),
    "spacing of slices twice as wide": (BOTH, on(measures, put("SpacingBetweenSlices", "6")), STEPS),
    "no series reference": (BOTH, drop("ReferencedSeriesSequence"), SOURCES),
    "two series referenced": (BOTH, lambda seg: seg.ReferencedSeriesSequence.append(Dataset()), SOURCES),
    "a slice not listed": (
        BOTH, lambda seg: seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence.pop(0), SOURCES
    ),
    "a frame's place": (BOTH, shift_frame, PLACE),
    "a frame's source": (BOTH, other_instance, PLACE),
    "two sources": (BOTH, second_source, PLACE),
    "a frame number for a single-frame source": (BOTH, on(source, put("ReferencedFrameNumber", 1)), PLACE),
    "no derivation": (BOTH, on(frame, drop("DerivationImageSequence")), PLACE),
    "no place": (BOTH, on(frame, drop("PlanePositionSequence")), PLACE),
    "not aligned": (BOTH, on(source, put("SpatialLocationsPreserved", "NO")), ALIGNED),
    "alignment not told": (BOTH, on(source, drop("SpatialLocationsPreserved")), ALIGNED),
    "segment in shared groups": (("binary",), share_segment, NAMED),
    "segment without frames": (("binary",), empty_segment, NAMED),
    "segment named in a label map": (("labelmap",), name_segment, NAMED),
    "a missing frame": (BOTH, drop_frame, HOLES),
    "frames the other way round": (BOTH, lambda seg: keep_frames(seg, range(seg.NumberOfFrames)[::-1]), HOLES),
    "indices swapped": (BOTH, swap_indices, INDICES),
    "no dimensions": (BOTH, drop("DimensionIndexSequence"), INDICES),
    "the wrong dimension": (
        BOTH, lambda seg: put("DimensionIndexPointer", 0x00209056)(seg.DimensionIndexSequence[-1]), INDICES
    ),
    "segments from 2 on": (("binary",), on(first_segment, put("SegmentNumber", 3)), ORDER),
    "background first": (("labelmap",), background_first, ORDER),
    "no padding value": (("labelmap",), drop("PixelPaddingValue"), BACKGROUND),
    "background not described": (("labelmap",), lambda seg: seg.SegmentSequence.pop(), BACKGROUND),
    "background called a femur": (
        ("labelmap",), lambda seg: put("CodeValue", "310651003")(
            seg.SegmentSequence[-1].SegmentedPropertyTypeCodeSequence[0]
        ), BACKGROUND,
    ),
    "padding in a binary one": (("binary",), lambda seg: seg.add_new("PixelPaddingValue", "US", 0), BACKGROUND),
    "two left femora": (BOTH, same_side_twice, SIDES),
    "label of the other side": (BOTH, on(first_segment, put("SegmentLabel", "Right proximal femur")), SIDES),
    "no side": (BOTH, on(kind, drop("SegmentedPropertyTypeModifierCodeSequence")), SIDES),
    "no colour": (BOTH, on(first_segment, drop("RecommendedDisplayCIELabValue")), COLOURS),
    "one colour for both": (BOTH, same_colour, COLOURS),
    "codes of another scheme": (BOTH, on(kind, put("CodingSchemeDesignator", "SRT")), CODES),
    "no category": (BOTH, on(first_segment, drop("SegmentedPropertyCategoryCodeSequence")), CODES),
    "by hand": (BOTH, on(first_segment, put("SegmentAlgorithmType", "MANUAL")), CODES),
    "an algorithm without a name": (BOTH, on(first_segment, drop("SegmentAlgorithmName")), CODES),
    "named like a table": (BOTH, put("SeriesDescription", "Table-Removal femur"), SHOWN),
    "made by a table finder": (BOTH, on(first_segment, put("SegmentAlgorithmName", "Couch net")), SHOWN),
})  # fmt: skip


@pytest.mark.parametrize(
    ("which", "change", "rule"),
    [pytest.param(which, change, rule, id=f"{which}-{name}") for name, (kinds, change, rule) in BROKEN.items()
     for which in kinds],
)  # fmt: skip
def test_what_would_fail_in_a_viewer_is_refused(tmp_path, released, which, change, rule):
    series, masks, paths = released
    seg = dcmread(paths[which])
    change(seg)
    implicit = seg.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    seg.save_as(tmp_path / "broken.dcm", implicit_vr=implicit, little_endian=True)
    with pytest.raises(SegmenterError, match="the segmentation was not released: it breaks") as refusal:
        CHECKS[which](tmp_path / "broken.dcm", series, masks)
    assert (refusal.value.reason, refusal.value.verdict) == (Reason.READBACK, Verdict.FAILED)
    assert rule in str(refusal.value)


def test_no_rule_is_without_a_break():
    assert {rule for _, _, rule in BROKEN.values()} == set(RULES)


def alone(released, tmp_path, which, change):
    """Return how many rules one change breaks."""
    series, masks, paths = released
    seg = dcmread(paths[which])
    change(seg)
    seg.save_as(tmp_path / "one.dcm")
    with pytest.raises(SegmenterError) as refusal:
        CHECKS[which](tmp_path / "one.dcm", series, masks)
    return str(refusal.value).partition("breaks ")[2].split(" ")[0]


@pytest.mark.parametrize("name", ["overlap not told", "spacing of slices a little off", "a frame's place",
                                  "not aligned", "no colour", "background first", "named like a table"])  # fmt: skip
def test_one_fault_breaks_one_rule(tmp_path, released, name):
    kinds, change, _ = BROKEN[name]
    assert [alone(released, tmp_path, which, change) for which in kinds] == ["1"] * len(kinds)
