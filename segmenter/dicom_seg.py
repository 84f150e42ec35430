"""Femur masks -> one DICOM Segmentation on the source's own grid, written so that every viewer shows it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from highdicom.color import CIELabColor
from highdicom.content import AlgorithmIdentificationSequence
from highdicom.seg import SegmentDescription
from highdicom.sr.coding import CodedConcept
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.tag import Tag
from pydicom.uid import SegmentationStorage
from pydicom.valuerep import format_number_as_ds

from segmenter.dicom_common import PRODUCT, ResultIdentity, new_object
from segmenter.errors import Reason, SegmenterError, Verdict
from segmenter.femur import Side
from segmenter.labels import ANATOMICAL_STRUCTURE, LABELS, NOTICE, PROXIMAL_FEMUR
from segmenter.series import Series
from segmenter.slices import Slice, number_of

Mask = NDArray[np.bool_]

ARTIFICIAL_INTELLIGENCE = codes.cid7162.ArtificialIntelligence
SEGMENTATION = codes.cid7203.SegmentationImageDerivation
SOURCE_IMAGE = codes.cid7202.SourceImageForImageProcessingOperation


def write_seg(series: Series, masks: Mapping[Side, Mask], identity: ResultIdentity, path: Path) -> Path:
    """Write one BINARY segmentation (PS3.3 A.51) with a segment per side; return the path.

    masks: bool `(z, y, x)` on the series' grid, none empty, none overlapping. Each segment's frames are the
    slab from its first to its last slice that is not empty; empty slices between are kept, or viewers shift
    what follows. Raises SegmenterError when the masks break these rules.
    """
    _require_masks(series, masks)
    sides = [side for side in Side if side in masks]
    frames = [(number, index) for number, side in enumerate(sides, 1) for index in _slab(masks[side])]
    seg = new_object(series, identity, SegmentationStorage, "SEG", "Proximal femur")
    _add_image_modules(seg, series)
    seg.SegmentSequence = [_segment(number, side, series, identity) for number, side in enumerate(sides, 1)]
    seg.ReferencedSeriesSequence = [_referenced_series(series)]
    seg.SharedFunctionalGroupsSequence = [_shared_groups(series)]
    _add_dimensions(seg, identity.uid(series, "dimension organization"))
    seg.PerFrameFunctionalGroupsSequence = list(_frame_groups(series, frames))
    seg.NumberOfFrames = len(frames)
    pixels = np.concatenate([masks[sides[number - 1]][index].ravel() for number, index in frames])
    packed = np.packbits(pixels, bitorder="little").tobytes()  # PS3.5 8.1.1: one bit per pixel, frames not padded
    seg.PixelData = packed + b"\0" * (len(packed) % 2)
    seg["PixelData"].VR = "OB"
    seg.save_as(path, enforce_file_format=True)
    return path


def _require_masks(series: Series, masks: Mapping[Side, Mask]) -> None:
    faults = [f"{side} is {mask.shape}, the series {series.geometry.shape}" for side, mask in masks.items()
              if mask.shape != series.geometry.shape]  # fmt: skip
    faults += [f"{side} is empty" for side, mask in masks.items() if not faults and not mask.any()]
    if not masks:
        faults.append("there is none")
    if not faults and len(masks) == 2 and np.logical_and(*masks.values()).any():
        faults.append("left and right overlap")
    if faults:
        raise SegmenterError(Reason.READBACK, f"masks must be whole and apart: {'; '.join(faults)}", Verdict.FAILED)


def _slab(mask: Mask) -> range:
    filled = np.flatnonzero(mask.any(axis=(1, 2)))
    return range(int(filled[0]), int(filled[-1]) + 1)


def _add_image_modules(seg: Dataset, series: Series) -> None:
    """Add the Image, Image Pixel, Multi-frame and Segmentation Image modules (PS3.3 C.7.6, C.8.20.2)."""
    first = series.slices[0]
    seg.ImageType = ["DERIVED", "PRIMARY"]
    seg.BodyPartExamined = "HIP"
    seg.Rows, seg.Columns = first.rows, first.columns
    seg.SamplesPerPixel, seg.PhotometricInterpretation = 1, "MONOCHROME2"
    seg.BitsAllocated, seg.BitsStored, seg.HighBit, seg.PixelRepresentation = 1, 1, 0, 0
    seg.LossyImageCompression = "01" if series.header.get("LossyImageCompression") == "01" else "00"
    if seg.LossyImageCompression == "01":
        for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            if keyword in series.header:
                seg.add(series.header[keyword])
    seg.SegmentationType = "BINARY"
    seg.SegmentsOverlap = "NO"
    seg.ContentLabel = "PROXIMAL_FEMUR"
    seg.ContentDescription = f"Proximal femur by an algorithm, {NOTICE}"
    seg.ContentCreatorName = None


def _segment(number: int, side: Side, series: Series, identity: ResultIdentity) -> Dataset:
    label = LABELS[side]
    segment = SegmentDescription(
        segment_number=number,
        segment_label=label.text,
        segmented_property_category=ANATOMICAL_STRUCTURE,
        segmented_property_type=PROXIMAL_FEMUR,
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name=identity.model_name,
            family=ARTIFICIAL_INTELLIGENCE,
            version=identity.model_version,
            source=PRODUCT,
            parameters={"sha256": identity.model_digest, "settings": identity.settings_digest},
        ),
        tracking_uid=identity.uid(series, f"tracking {side}"),
        tracking_id=f"{PRODUCT} {side} proximal femur",
        display_color=CIELabColor.from_rgb(*label.rgb),
    )
    # MITK names a segment by type and modifier alone (mitkDICOMSegmentationIO.cpp).
    segment.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [
        CodedConcept.from_code(label.laterality)
    ]
    return segment


def _reference(plane: Slice) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = plane.sop_class_uid
    item.ReferencedSOPInstanceUID = plane.sop_instance_uid
    return item


def _referenced_series(series: Series) -> Dataset:
    """Return the reference without which OHIF does not list the object (getSopClassHandlerModule.ts)."""
    item = Dataset()
    item.SeriesInstanceUID = series.series_uid
    # The network saw every slice, so every one is referenced; an enhanced object once for all its frames.
    once = {plane.sop_instance_uid: plane for plane in series.slices}
    item.ReferencedInstanceSequence = [_reference(plane) for plane in once.values()]
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
    """Return the source's own strings; one longer than the 16 characters of DS is rounded to what fits."""
    return [value if len(value) <= 16 else str(format_number_as_ds(float(value))) for value in values]


def _add_dimensions(seg: Dataset, organization_uid: str) -> None:
    """Say that frames are ordered by segment, then by position (PS3.3 C.7.6.17)."""
    organization = Dataset()
    organization.DimensionOrganizationUID = organization_uid
    seg.DimensionOrganizationSequence = [organization]
    seg.DimensionIndexSequence = []
    for group, keyword, name in (
        ("SegmentIdentificationSequence", "ReferencedSegmentNumber", "Segment"),
        ("PlanePositionSequence", "ImagePositionPatient", "Position"),
    ):
        index = Dataset()
        index.DimensionIndexPointer = Tag(keyword)
        index.FunctionalGroupPointer = Tag(group)
        index.DimensionOrganizationUID = organization_uid
        index.DimensionDescriptionLabel = name
        seg.DimensionIndexSequence.append(index)


def _frame_groups(series: Series, frames: Sequence[tuple[int, int]]) -> Iterator[Dataset]:
    """Yield the functional groups of each frame (segment number, slice index)."""
    place = {index: rank for rank, index in enumerate(sorted({index for _, index in frames}), 1)}
    for number, index in frames:
        plane = series.slices[index]
        content, position, segment, item = Dataset(), Dataset(), Dataset(), Dataset()
        content.DimensionIndexValues = [number, place[index]]
        position.ImagePositionPatient = _decimals(plane.position)
        # Per frame even with a single segment: OHIF does not find it among the shared groups (Viewers#2252).
        segment.ReferencedSegmentNumber = number
        item.FrameContentSequence = [content]
        item.PlanePositionSequence = [position]
        item.SegmentIdentificationSequence = [segment]
        item.DerivationImageSequence = [_derivation(plane)]
        yield item


def _derivation(plane: Slice) -> Dataset:
    source, derivation = _reference(plane), Dataset()
    if plane.frame is not None:
        source.ReferencedFrameNumber = plane.frame
    source.SpatialLocationsPreserved = "YES"
    source.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(SOURCE_IMAGE)]
    derivation.DerivationCodeSequence = [CodedConcept.from_code(SEGMENTATION)]
    derivation.SourceImageSequence = [source]
    return derivation
