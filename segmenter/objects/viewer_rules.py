"""What viewers require of a segmentation, as rules checked before one is kept (docs/reference/seg.md).

Each comes from the source code of a viewer, or from a report of a display that failed without it.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage

from segmenter.objects.seg_reader import SegFile
from segmenter.objects.uids import LABELMAP_STORAGE
from segmenter.read.series import Series

TYPES = MappingProxyType({SegmentationStorage: "BINARY", LABELMAP_STORAGE: "LABELMAP"})
POSITION_TOLERANCE_MM = 1e-3  # cornerstone3D takes the same for positions and directions
HIDDEN_WORDS = ("tableremoval", "tabletop", "couch", "patientsupport", "bedremoval")  # Weasis, letters only

Rule = Callable[[SegFile, Series], bool]


def _known_kind(seg: SegFile, series: Series) -> bool:
    data = seg.data
    return bool(
        data.Modality == "SEG"
        and TYPES[data.SOPClassUID] == data.SegmentationType
        and data.file_meta.MediaStorageSOPClassUID == data.SOPClassUID
        and data.file_meta.MediaStorageSOPInstanceUID == data.SOPInstanceUID
    )


def _plain_pixels(seg: SegFile, series: Series) -> bool:
    data, bits = seg.data, 8 if seg.is_labelmap else 1
    size = -(-len(seg.frames) * data.Rows * data.Columns * bits // 8)
    return bool(
        data.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        and (data.SamplesPerPixel, data.PhotometricInterpretation) == (1, "MONOCHROME2")
        and (data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation) == (bits, bits, bits - 1, 0)
        and data.NumberOfFrames == len(seg.frames)
        and seg.pixel_bytes == size + size % 2
    )


def _says_disjoint(seg: SegFile, series: Series) -> bool:
    return bool(seg.data.SegmentsOverlap == "NO")


def _in_same_study_and_frame(seg: SegFile, series: Series) -> bool:
    return bool(
        seg.data.StudyInstanceUID == series.study_uid
        and seg.data.FrameOfReferenceUID == series.slices[0].frame_of_reference_uid
        and seg.data.SeriesInstanceUID != series.series_uid
    )


def _on_same_grid(seg: SegFile, series: Series) -> bool:
    (shared,), first = seg.data.SharedFunctionalGroupsSequence, series.slices[0]
    measures = shared.PixelMeasuresSequence[0]
    axes = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    spacing = np.array(measures.PixelSpacing, float)
    return bool(
        (seg.data.Rows, seg.data.Columns) == (first.rows, first.columns)
        and np.allclose(axes, first.axes.ravel(), rtol=0, atol=1e-6)
        and np.allclose(spacing, np.array(first.spacing, float), rtol=1e-6)
        and np.isclose(float(measures.SpacingBetweenSlices), series.geometry.distances[0], rtol=1e-4)
        and float(measures.SliceThickness) > 0
    )


def _lists_source(seg: SegFile, series: Series) -> bool:
    (item,) = seg.data.ReferencedSeriesSequence
    listed = [str(reference.ReferencedSOPInstanceUID) for reference in item.ReferencedInstanceSequence]
    return bool(item.SeriesInstanceUID == series.series_uid and sorted(listed) == sorted(series.instance_uids))


def _frames_lie_on_their_source(seg: SegFile, series: Series) -> bool:
    planes = {(plane.sop_instance_uid, plane.frame): plane for plane in series.slices}
    return all(
        frame.position is not None and np.abs(frame.position - planes[frame.source].point).max() < POSITION_TOLERANCE_MM
        for frame in seg.frames
    )


def _says_aligned(seg: SegFile, series: Series) -> bool:
    return all(item.SpatialLocationsPreserved == "YES" for frame in seg.frames for item in frame.sources)


def _frames_name_their_segment(seg: SegFile, series: Series) -> bool:
    if seg.is_labelmap:
        return all(frame.segment is None for frame in seg.frames)
    numbers = {int(item.SegmentNumber) for item in seg.segments}
    return {frame.segment for frame in seg.frames} == numbers


def _has_no_holes(seg: SegFile, series: Series) -> bool:
    """Return whether the frames are ordered by segment, and within a segment by slice without gaps."""
    places = {(plane.sop_instance_uid, plane.frame): index for index, plane in enumerate(series.slices)}
    order = [(frame.segment or 0, places[frame.source]) for frame in seg.frames]
    first = 0 if seg.is_labelmap else 1
    return order[0][0] == first and all(b == (a[0], a[1] + 1) or b[0] == a[0] + 1 for a, b in pairwise(order))


def _indexes_frames(seg: SegFile, series: Series) -> bool:
    wanted = ["ImagePositionPatient"] if seg.is_labelmap else ["ReferencedSegmentNumber", "ImagePositionPatient"]
    pointers = [item.DimensionIndexPointer for item in seg.data.DimensionIndexSequence]
    indices = [frame.indices for frame in seg.frames]
    numbers = [frame.segment for frame in seg.frames]
    return (
        pointers == [Tag(keyword) for keyword in wanted]
        and all(len(index) == len(wanted) for index in indices)
        and indices == sorted(set(indices))
        and (seg.is_labelmap or [index[0] for index in indices] == numbers)
    )


def _steps_as_it_says(seg: SegFile, series: Series) -> bool:
    """Return whether the declared spacing leads from frame to frame, as readers that use it expect."""
    places = {(plane.sop_instance_uid, plane.frame): index for index, plane in enumerate(series.slices)}
    true = np.array([places[frame.source] for frame in seg.frames])
    return np.array_equal(np.rint(in_grid_of_first_frame(seg)[:, 2]), true - true.min())


def _lists_segments_in_order(seg: SegFile, series: Series) -> bool:
    numbers = [int(item.SegmentNumber) for item in seg.data.SegmentSequence]
    count = len(seg.segments)
    return numbers[:count] == list(range(1, count + 1)) and numbers[count:] == ([0] if seg.is_labelmap else [])


def _describes_background(seg: SegFile, series: Series) -> bool:
    if not seg.is_labelmap:
        return "PixelPaddingValue" not in seg.data
    (item,) = (item for item in seg.data.SegmentSequence if item.SegmentNumber == 0)
    return seg.background == 0 and bool(item.SegmentedPropertyTypeCodeSequence[0].CodeValue == "125040")


def _tells_sides(seg: SegFile, series: Series) -> bool:
    sides = list(seg.sides.values())
    labels = [str(item.SegmentLabel).lower() for item in seg.segments]
    return len(set(sides)) == len(sides) and all(
        label.startswith(side) for label, side in zip(labels, sides, strict=True)
    )


def _colours_segments(seg: SegFile, series: Series) -> bool:
    colours = [tuple(item.RecommendedDisplayCIELabValue) for item in seg.segments]
    return all(len(colour) == 3 for colour in colours) and len(set(colours)) == len(colours)


def _codes_segments(seg: SegFile, series: Series) -> bool:
    kinds = [(item.SegmentedPropertyCategoryCodeSequence[0], item.SegmentedPropertyTypeCodeSequence[0])
             for item in seg.segments]  # fmt: skip
    return all(
        code.CodingSchemeDesignator == "SCT" and code.CodeValue and code.CodeMeaning for kind in kinds for code in kind
    ) and all(item.SegmentAlgorithmType == "AUTOMATIC" and item.SegmentAlgorithmName for item in seg.segments)


def _shown_at_once(seg: SegFile, series: Series) -> bool:
    texts = [seg.data.get(keyword) for keyword in ("SeriesDescription", "ContentDescription", "ContentLabel")]
    texts += [item.get(keyword) for item in seg.segments for keyword in ("SegmentLabel", "SegmentAlgorithmName")]
    letters = ["".join(c for c in str(text or "").lower() if c.isalnum()) for text in texts]
    return not any(word in text for word in HIDDEN_WORDS for text in letters)


def in_grid_of_first_frame(seg: SegFile) -> NDArray[np.float64]:
    """Return each frame's corner `(n, 3)` as (column, row, slice) from the first frame, by the declared grid.

    As in ITK, the pixel spacing, the directions and the Spacing Between Slices of the object make a straight grid.
    """
    (shared,) = seg.data.SharedFunctionalGroupsSequence
    measures = shared.PixelMeasuresSequence[0]
    row, column = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    axes = np.stack([row, column, np.cross(row, column)])
    row_mm, column_mm = (float(value) for value in measures.PixelSpacing)
    points = np.array([frame.position for frame in seg.frames], float)
    origin = points[np.argmin(points @ axes[2])]
    steps: NDArray[np.float64] = (points - origin) @ axes.T / [column_mm, row_mm, float(measures.SpacingBetweenSlices)]
    return steps


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        # OHIF goes by SOP class (getSopClassHandlerModule.ts), MITK by modality (mitkDICOMSegmentationIO.cpp), dcmqi by
        # both (Dicom2ItkConverterBase.cpp getConverter); archives store under what the file meta says.
        "a binary segmentation or a label map, named so throughout": _known_kind,
        # cornerstone3D PR#2611, awesome-dicom PR#28 (RLE and deflate fail in most web viewers), encodePixelData.ts
        # (unpacked by Bits Stored), labelmapImagesFromBuffer.ts (frames beyond the pixels are dropped unsaid),
        # ImagingDataCommons/slim PR#430 (palette colours are not shown).
        "plain pixels, as many as the frames need": _plain_pixels,
        # mitkDICOMSegmentationIO.cpp: a layer per segment unless NO; OHIF Viewers#2164.
        "segments that do not overlap": _says_disjoint,
        # OHIF Viewers#1711 (crash when the study is another one); SegSpecialElement.java of Weasis (placed by position
        # only within the same frame of reference).
        "the source's study and frame of reference, in a series of its own": _in_same_study_and_frame,
        # OHIF Viewers#1345 and cornerstone3D checkOrientation.ts (in-plane only, 1e-3), MITK (congruent grids),
        # Weasis#693 (nothing drawn on another grid).
        "the source's rows, columns, spacing and orientation": _on_same_grid,
        # OHIF getSopClassHandlerModule.ts: not listed without it, only the first is looked at; Viewers#2212: complete.
        "one referenced series with every slice of the source": _lists_source,
        # cornerstone3D labelmapImagesFromBuffer.ts: skipped if the source is not loaded, the first source is taken, a
        # frame number is put into the address; OHIF Viewers#2733: position.
        "each frame's one source image in the series and at the frame's position": _frames_lie_on_their_source,
        # SegSpecialElement.java of Weasis (#816): aligned by position unless SpatialLocationsPreserved says YES.
        "SpatialLocationsPreserved YES on each frame": _says_aligned,
        # OHIF Viewers#2252, Weasis SegSpecialElement.java registerFrameLoader (shared groups are not asked);
        # OHIF Viewers#3991 (a described segment without a frame hangs the loader).
        "each frame names its segment, each segment has frames": _frames_name_their_segment,
        # OHIF Viewers#2833 and highdicom#214: left-out frames shift the rest.
        "frames by segment, then slice by slice without holes": _has_no_holes,
        # PS3.3 C.7.6.17; highdicom and DCMTK sort and find frames by these indices.
        "dimension indices by segment and position, in the order of the frames": _indexes_frames,
        # dcmqi ConverterBase.h computeVolumeExtent, dcmqi#430 ("Frame origin is outside image geometry").
        "a declared spacing that leads from frame to frame": _steps_as_it_says,
        # cornerstone3D getSegmentMetadata (before PR#2882) and Slicer (before PR#9163) go by the place in the list.
        "segments listed as 1, 2, ... and the background last": _lists_segments_in_order,
        # dcmqi PR#541: the background is what Pixel Padding Value says; PS3.3 C.8.20.2.4: each number is described.
        "0 described as the background of a label map": _describes_background,
        # mitkDICOMSegmentationIO.cpp: named by type and modifier where it takes no label; others by label.
        "each segment with a laterality of its own and a fitting label": _tells_sides,
        # OHIF Viewers#3939 (hangs without), dcmqi#430 (all alike without).
        "each segment with a colour of its own": _colours_segments,
        # Dicom2ItkConverterBase.cpp of dcmqi (gives up without an algorithm type); OHIF Viewers#2212 (SRT codes).
        "each segment with codes of SNOMED CT and an algorithm": _codes_segments,
        # SegSpecialElement.java of Weasis, isHiddenByDefault: what is named like a table is not shown.
        "no name that makes a viewer hide it": _shown_at_once,
    }
)
