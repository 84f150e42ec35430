"""The frames of a segmentation: references to the source, dimensions and functional groups."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from highdicom.sr.coding import CodedConcept
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.tag import Tag
from pydicom.valuerep import format_number_as_ds

from segmenter.objects.common import source_references
from segmenter.read.series import Series
from segmenter.read.slices import Slice, number_of

DERIVATION = codes.cid7203.SegmentationImageDerivation  # 113076, DCM
SOURCE_IMAGE = codes.cid7202.SourceImageForImageProcessingOperation  # 121322, DCM

BY_SEGMENT = ("SegmentIdentificationSequence", "ReferencedSegmentNumber", "Segment")
BY_POSITION = ("PlanePositionSequence", "ImagePositionPatient", "Position")


@dataclass(frozen=True)
class Frame:
    """One frame: the index of its slice in the series, and its segment; None if it shows all segments."""

    slice: int
    segment: int | None = None


def add_frames(seg: Dataset, series: Series, frames: Sequence[Frame], organization_uid: str) -> None:
    """Add the reference to the source, the dimensions and the functional groups (PS3.3 C.7.6.16, C.7.6.17).

    frames: in the order of the pixels; either all have a segment, or none has.
    """
    seg.ReferencedSeriesSequence = [_referenced_series(series)]
    seg.SharedFunctionalGroupsSequence = [_shared_groups(series)]
    kinds = [BY_POSITION] if frames[0].segment is None else [BY_SEGMENT, BY_POSITION]
    organization = Dataset()
    organization.DimensionOrganizationUID = organization_uid
    seg.DimensionOrganizationSequence = [organization]
    seg.DimensionIndexSequence = [_dimension(organization_uid, *kind) for kind in kinds]
    seg.PerFrameFunctionalGroupsSequence = list(_frame_groups(series, frames))
    seg.NumberOfFrames = len(frames)


def _referenced_series(series: Series) -> Dataset:
    """Return the reference without which OHIF does not list the object (getSopClassHandlerModule.ts)."""
    item = Dataset()
    item.SeriesInstanceUID = series.series_uid
    item.ReferencedInstanceSequence = source_references(series.slices)  # the network saw every slice
    return item


def _shared_groups(series: Series) -> Dataset:
    first = series.slices[0]
    step = format_number_as_ds(series.geometry.distances[0])
    measures, orientation, item = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = _decimals(first.spacing)
    thickness = number_of(series.header, "SliceThickness") or 0.0
    measures.SliceThickness = _decimals([str(series.header.SliceThickness)])[0] if thickness > 0 else step
    measures.SpacingBetweenSlices = step
    orientation.ImageOrientationPatient = _decimals(first.orientation)
    item.PixelMeasuresSequence = [measures]
    item.PlaneOrientationSequence = [orientation]
    return item


def _decimals(values: Sequence[str]) -> list[str]:
    """Return the source's strings; one longer than the 16 characters of DS is rounded to fit."""
    return [value if len(value) <= 16 else str(format_number_as_ds(float(value))) for value in values]


def _dimension(organization_uid: str, group: str, keyword: str, name: str) -> Dataset:
    index = Dataset()
    index.DimensionIndexPointer = Tag(keyword)
    index.FunctionalGroupPointer = Tag(group)
    index.DimensionOrganizationUID = organization_uid
    index.DimensionDescriptionLabel = name
    return index


def _frame_groups(series: Series, frames: Sequence[Frame]) -> Iterator[Dataset]:
    # Items that frames share are created once: a long scan has over a thousand frames.
    purpose, derived = ([CodedConcept.from_code(code)] for code in (SOURCE_IMAGE, DERIVATION))
    slices = sorted({frame.slice for frame in frames})
    place = {index: rank for rank, index in enumerate(slices, 1)}
    positions = {index: _position(series.slices[index]) for index in slices}
    derivations = {index: _derivation(series.slices[index], purpose, derived) for index in slices}
    for frame in frames:
        content, item = Dataset(), Dataset()
        content.DimensionIndexValues = [place[frame.slice]]
        item.FrameContentSequence = [content]
        item.PlanePositionSequence = positions[frame.slice]
        item.DerivationImageSequence = derivations[frame.slice]
        if frame.segment is not None:
            content.DimensionIndexValues = [frame.segment, place[frame.slice]]
            # Per frame even with one segment: OHIF does not read it from the shared groups (Viewers#2252).
            segment = Dataset()
            segment.ReferencedSegmentNumber = frame.segment
            item.SegmentIdentificationSequence = [segment]
        yield item


def _position(plane: Slice) -> list[Dataset]:
    position = Dataset()
    position.ImagePositionPatient = _decimals(plane.position)
    return [position]


def _derivation(plane: Slice, purpose: list[CodedConcept], derived: list[CodedConcept]) -> list[Dataset]:
    (source,), derivation = source_references([plane]), Dataset()
    if plane.frame is not None:
        source.ReferencedFrameNumber = plane.frame
    source.SpatialLocationsPreserved = "YES"
    source.PurposeOfReferenceCodeSequence = purpose
    derivation.DerivationCodeSequence = derived
    derivation.SourceImageSequence = [source]
    return [derivation]
