"""The gate before a SEG leaves: read it back, compare it with the mask, apply the viewers' rules."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage

from segmenter.errors import Reason, SegmenterError, Verdict
from segmenter.femur import Side
from segmenter.series import Series
from segmenter.slices import Slice

Mask = NDArray[np.bool_]

POSITION_TOLERANCE_MM = 1e-3
LATERALITY = MappingProxyType({"7771000": Side.LEFT, "24028007": Side.RIGHT})  # SCT codes of CID 244
MALFORMED = (AttributeError, KeyError, IndexError, TypeError, ValueError, InvalidDicomError, OSError)


def check_seg(path: Path, series: Series, masks: Mapping[Side, Mask]) -> None:
    """Raise SegmenterError(READBACK, failed) unless the file on disk says exactly what the masks say.

    masks: bool `(z, y, x)` on the series' grid. Nothing of the writing side is used: pydicom reads the file,
    laterality codes tell segments apart, and frames are put at their own positions in the patient.
    """
    try:
        seg = dcmread(path)
        broken = [rule for rule, holds in RULES.items() if not _holds(holds, seg, series)]
        found = {} if broken else _rebuild(seg, series)
    except MALFORMED as error:
        raise _failed(f"it cannot be read back ({type(error).__name__})") from error
    if broken:
        raise _failed(f"it breaks {len(broken)} rules: {'; '.join(broken)}")
    if set(found) != set(masks):
        raise _failed(f"it holds the sides {sorted(found)}, the masks are {sorted(masks)}")
    for side, mask in masks.items():
        if wrong := int(np.count_nonzero(found[side] != mask)):
            raise _failed(f"{wrong} voxels of the {side} femur differ from the mask of {int(mask.sum())} voxels")


def _holds(rule: "Rule", seg: Dataset, series: Series) -> bool:
    """Apply a rule; an object that lacks what the rule looks at breaks it."""
    try:
        return rule(seg, series)
    except MALFORMED:
        return False


def _failed(what: str) -> SegmenterError:
    return SegmenterError(Reason.READBACK, f"the segmentation was not released: {what}", Verdict.FAILED)


def _rebuild(seg: Dataset, series: Series) -> dict[Side, Mask]:
    """Return each side's mask on the source grid, every frame placed by its own ImagePositionPatient."""
    sides = {
        int(segment.SegmentNumber): LATERALITY[
            segment.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence[0].CodeValue
        ]
        for segment in seg.SegmentSequence
    }
    masks = {side: np.zeros(series.geometry.shape, bool) for side in sides.values()}
    frames = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    for frame, groups in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        points = np.array([[float(v) for v in groups.PlanePositionSequence[0].ImagePositionPatient]])
        index = int(np.rint(series.geometry.to_index(points)[0, 0]))
        masks[sides[_number(groups)]][index] |= frame.astype(bool)
    return masks


def _number(groups: Dataset) -> int:
    return int(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber)


def _source(groups: Dataset) -> Dataset:
    item: Dataset = groups.DerivationImageSequence[0].SourceImageSequence[0]
    return item


def _planes(series: Series) -> dict[tuple[str, int | None], Slice]:
    return {(plane.sop_instance_uid, plane.frame): plane for plane in series.slices}


def _is_plain_binary(seg: Dataset, series: Series) -> bool:
    return (
        seg.SOPClassUID == SegmentationStorage
        and seg.SegmentationType == "BINARY"
        and seg.SegmentsOverlap == "NO"
        and seg.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    )


def _in_same_study_and_frame(seg: Dataset, series: Series) -> bool:
    return bool(
        seg.StudyInstanceUID == series.study_uid
        and seg.FrameOfReferenceUID == series.slices[0].frame_of_reference_uid
        and seg.SeriesInstanceUID != series.series_uid
    )


def _on_same_grid(seg: Dataset, series: Series) -> bool:
    shared, first = seg.SharedFunctionalGroupsSequence[0], series.slices[0]
    measures = shared.PixelMeasuresSequence[0]
    axes = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    spacing = np.array(measures.PixelSpacing, float)
    return bool(
        (seg.Rows, seg.Columns) == (first.rows, first.columns)
        and np.allclose(axes, first.axes.ravel(), rtol=0, atol=1e-6)
        and np.allclose(spacing, np.array(first.spacing, float), rtol=1e-6)
        and np.isclose(float(measures.SpacingBetweenSlices), series.geometry.distances[0], rtol=1e-4)
        and float(measures.SliceThickness) > 0
    )


def _lists_source(seg: Dataset, series: Series) -> bool:
    (item,) = seg.ReferencedSeriesSequence
    listed = {str(reference.ReferencedSOPInstanceUID) for reference in item.ReferencedInstanceSequence}
    return item.SeriesInstanceUID == series.series_uid and listed == set(series.instance_uids)


def _frames_lie_on_their_source(seg: Dataset, series: Series) -> bool:
    planes = _planes(series)
    for groups in seg.PerFrameFunctionalGroupsSequence:
        source = _source(groups)
        plane = planes.get((str(source.ReferencedSOPInstanceUID), source.get("ReferencedFrameNumber")))
        position = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        if plane is None or np.abs(position - plane.point).max() > POSITION_TOLERANCE_MM:
            return False
    return True


def _says_aligned(seg: Dataset, series: Series) -> bool:
    groups = seg.PerFrameFunctionalGroupsSequence
    return all(_source(frame).SpatialLocationsPreserved == "YES" for frame in groups)


def _has_no_holes(seg: Dataset, series: Series) -> bool:
    """Tell whether frames run by segment, and in each segment from slice to next slice."""
    planes = {key: index for index, key in enumerate(_planes(series))}
    sources = [(frame, _source(frame)) for frame in seg.PerFrameFunctionalGroupsSequence]
    places = [
        (_number(frame), planes[str(source.ReferencedSOPInstanceUID), source.get("ReferencedFrameNumber")])
        for frame, source in sources
    ]
    follows = [b == (a[0], a[1] + 1) or b[0] == a[0] + 1 for a, b in pairwise(places)]
    return len(places) == seg.NumberOfFrames and places[0][0] == 1 and all(follows)


def _describes_segments(seg: Dataset, series: Series) -> bool:
    kinds = [segment.SegmentedPropertyTypeCodeSequence[0] for segment in seg.SegmentSequence]
    sides = [LATERALITY[kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeValue] for kind in kinds]
    labels = [segment.SegmentLabel.lower() for segment in seg.SegmentSequence]
    return (
        [int(segment.SegmentNumber) for segment in seg.SegmentSequence] == list(range(1, len(kinds) + 1))
        and len(set(sides)) == len(sides)
        and all(label.startswith(side) for label, side in zip(labels, sides, strict=True))
        and all(len(segment.RecommendedDisplayCIELabValue) == 3 for segment in seg.SegmentSequence)
    )


Rule = Callable[[Dataset, Series], bool]

# The rules of the viewers, each with the place where somebody's display failed for want of it.
RULES: Mapping[str, Rule] = MappingProxyType(
    {
        # OHIF: fractional refused; RLE and deflate fail in most web viewers (cornerstone3D PR 2611).
        "binary, not overlapping, uncompressed": _is_plain_binary,
        # OHIF Viewers#1711: crash when the referenced study is another one.
        "the source's study and frame of reference, in a series of its own": _in_same_study_and_frame,
        # OHIF Viewers#1345 (in-plane only, 1e-3), MITK (congruent grids), Weasis#693 (nothing drawn).
        "the source's rows, columns, spacing and orientation": _on_same_grid,
        # OHIF getSopClassHandlerModule.ts: not listed without it; Viewers#2212: must be complete.
        "one referenced series with every slice of the source": _lists_source,
        # OHIF labelmapImagesFromBuffer.ts: skipped if the source is not loaded; Viewers#2733: position.
        "each frame's source image in the series and at the frame's position": _frames_lie_on_their_source,
        # Weasis#816: aligned by position unless SpatialLocationsPreserved says YES.
        "SpatialLocationsPreserved YES on each frame": _says_aligned,
        # OHIF Viewers#2252 (segment per frame), #2833 and highdicom#214 (left-out frames shift the rest),
        # dcmqi#430 (irregular positions: "Frame origin is outside image geometry").
        "frames by segment, then slice by slice without holes": _has_no_holes,
        # mitkDICOMSegmentationIO.cpp (name from type and modifier), OHIF (warning without a colour).
        "segments numbered from 1, each with its own laterality, a fitting label and a colour": _describes_segments,
    }
)
