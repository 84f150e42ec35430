"""Write the femur masks as a DICOM Segmentation on the grid of the source.

docs/reference/seg.md lists its content and the reasons. segmenter.objects.seg_check checks it before it is kept.
"""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from highdicom.color import CIELabColor
from highdicom.content import AlgorithmIdentificationSequence
from highdicom.seg import SegmentDescription
from highdicom.sr.coding import CodedConcept
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import SegmentationStorage

from segmenter.errors import Reason, SegmenterError, Verdict
from segmenter.objects.common import PRODUCT, ResultIdentity, add_lossy_history, new_object
from segmenter.objects.labels import ANATOMICAL_STRUCTURE, LABELS, NOTICE, PROXIMAL_FEMUR
from segmenter.objects.seg_frames import Frame, add_frames
from segmenter.objects.uids import LABELMAP_STORAGE
from segmenter.read.series import Series
from segmenter.volume.femur import Side

Mask = NDArray[np.bool_]

ARTIFICIAL_INTELLIGENCE = codes.cid7162.ArtificialIntelligence
BACKGROUND = codes.DCM.Background  # 125040
SPATIAL_CONCEPT = Code("309825002", "SCT", "Spatial and Relational Concept")  # CID 7150
BLACK = CIELabColor(0.0, 0.0, 0.0)
# Added to the series number of the binary segmentation, so that the two differ.
LABELMAP_SERIES = 3000


def write_seg(series: Series, masks: Mapping[Side, Mask], identity: ResultIdentity, path: Path) -> Path:
    """Write one BINARY segmentation (PS3.3 A.51) with a segment per side; return the path.

    masks: bool `(z, y, x)` on the series' grid, none empty, none overlapping. Each segment's frames are the
    slab from its first to its last slice that is not empty; empty slices between them are kept, or viewers shift the
    rest. Raises SegmenterError when the masks violate these rules.
    """
    _require_masks(series, masks)
    sides = [side for side in Side if side in masks]
    frames = [Frame(index, number) for number, side in enumerate(sides, 1) for index in _slab(masks[side])]
    seg = new_object(series, identity, SegmentationStorage, "SEG", "Proximal femur")
    _add_image_modules(seg, series, bits=1)
    seg.SegmentationType = "BINARY"
    seg.SegmentSequence = [_segment(number, side, series, identity) for number, side in enumerate(sides, 1)]
    add_frames(seg, series, frames, identity.uid(series, "dimension organization"))
    _add_pixels(seg, _packed([masks[sides[(frame.segment or 0) - 1]][frame.slice] for frame in frames]))
    seg.save_as(path, enforce_file_format=True)
    return path


def write_labelmap(series: Series, masks: Mapping[Side, Mask], identity: ResultIdentity, path: Path) -> Path:
    """Write the same masks as one label map (PS3.3 A.51, type LABELMAP): a byte per voxel, 0 where no bone is.

    Its frames are the slab that holds all segments, its numbers those of `write_seg`, its UIDs its own; a femur has the
    same tracking UID in both. Raises SegmenterError as `write_seg` does.
    """
    _require_masks(series, masks)
    sides = [side for side in Side if side in masks]
    slabs = [_slab(mask) for mask in masks.values()]
    slab = range(min(one.start for one in slabs), max(one.stop for one in slabs))
    seg = new_object(series, identity, LABELMAP_STORAGE, "SEG", "Femur label map")
    seg.SeriesNumber = int(seg.SeriesNumber) + LABELMAP_SERIES
    _add_image_modules(seg, series, bits=8)
    seg.SegmentationType = "LABELMAP"
    seg.PixelPaddingValue = 0  # marks 0 as background; the code of the segment does not (dcmqi#541)
    seg.SegmentSequence = [_segment(number, side, series, identity) for number, side in enumerate(sides, 1)]
    seg.SegmentSequence.append(_background(identity))
    add_frames(seg, series, [Frame(index) for index in slab], identity.uid(series, "label map dimensions"))
    labels = np.zeros((len(slab), *series.geometry.shape[1:]), np.uint8)
    for number, side in enumerate(sides, 1):
        np.copyto(labels, number, where=masks[side][slab.start : slab.stop])
    _add_pixels(seg, labels.tobytes())
    seg.save_as(path, enforce_file_format=True)
    return path


def _require_masks(series: Series, masks: Mapping[Side, Mask]) -> None:
    faults = [f"{side} has the shape {mask.shape}, the series {series.geometry.shape}" for side, mask in masks.items()
              if mask.shape != series.geometry.shape]  # fmt: skip
    faults += [f"{side} is empty" for side, mask in masks.items() if not faults and not mask.any()]
    if not masks:
        faults.append("there are no masks")
    if (
        not faults
        and len(masks) == 2
        and any((left & right).any() for left, right in zip(*masks.values(), strict=True))
    ):
        faults.append("left and right overlap")
    if faults:
        raise SegmenterError(Reason.READBACK, f"the masks cannot be written: {'; '.join(faults)}", Verdict.FAILED)


def _slab(mask: Mask) -> range:
    filled = np.flatnonzero(mask.any(axis=(1, 2)))
    return range(int(filled[0]), int(filled[-1]) + 1)


def _packed(planes: Sequence[Mask]) -> bytes:
    """Return one bit per pixel, the frames not padded (PS3.5 8.1.1)."""
    # Eight frames always end on a byte boundary, so no second copy of all pixels is needed.
    groups = (np.concatenate([plane.ravel() for plane in planes[i : i + 8]]) for i in range(0, len(planes), 8))
    return b"".join(np.packbits(group, bitorder="little").tobytes() for group in groups)


def _add_pixels(seg: Dataset, pixels: bytes) -> None:
    # A buffer is written in pieces; bytes would be copied as a whole.
    seg.PixelData = BytesIO(pixels + b"\0" if len(pixels) % 2 else pixels)
    seg["PixelData"].VR = "OB"


def _add_image_modules(seg: Dataset, series: Series, bits: int) -> None:
    """Add the Image, Image Pixel, Multi-frame and Segmentation Image modules (PS3.3 C.7.6, C.8.20.2)."""
    first = series.slices[0]
    seg.ImageType = ["DERIVED", "PRIMARY"]
    seg.BodyPartExamined = "HIP"
    seg.Rows, seg.Columns = first.rows, first.columns
    seg.SamplesPerPixel, seg.PhotometricInterpretation = 1, "MONOCHROME2"
    seg.BitsAllocated, seg.BitsStored, seg.HighBit, seg.PixelRepresentation = bits, bits, bits - 1, 0
    add_lossy_history(seg, series.header)
    seg.SegmentsOverlap = "NO"
    seg.ContentLabel = "PROXIMAL_FEMUR"
    seg.ContentDescription = f"Proximal femur by an algorithm, {NOTICE}"
    seg.ContentCreatorName = None


def _segment(number: int, side: Side, series: Series, identity: ResultIdentity) -> SegmentDescription:
    label = LABELS[side]
    segment = SegmentDescription(
        segment_number=number,
        segment_label=label.text,
        segmented_property_category=ANATOMICAL_STRUCTURE,
        segmented_property_type=PROXIMAL_FEMUR,
        algorithm_type="AUTOMATIC",
        algorithm_identification=_algorithm(identity),
        tracking_uid=identity.uid(series, f"tracking {side}"),
        tracking_id=f"{PRODUCT} {side} proximal femur",
        display_color=CIELabColor.from_rgb(*label.rgb),
    )
    # MITK before 2024.12 names a segment by type and modifier alone (mitkDICOMSegmentationIO.cpp).
    segment.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [
        CodedConcept.from_code(label.laterality)
    ]
    return segment


def _background(identity: ResultIdentity) -> SegmentDescription:
    """Return the description of 0; a label map must describe every value in it (PS3.3 C.8.20.2.4).

    It is the last item: cornerstone3D (before PR#2882) and 3D Slicer (before PR#9163) use the position in the list, and
    as the first item it would give each femur the name and colour of the previous one.
    """
    segment = SegmentDescription(
        segment_number=1,  # highdicom does not accept 0
        segment_label="Background",
        segmented_property_category=SPATIAL_CONCEPT,
        segmented_property_type=BACKGROUND,
        algorithm_type="AUTOMATIC",
        algorithm_identification=_algorithm(identity),
        display_color=BLACK,
    )
    segment.SegmentNumber = 0
    return segment


def _algorithm(identity: ResultIdentity) -> AlgorithmIdentificationSequence:
    return AlgorithmIdentificationSequence(
        name=identity.model_name,
        family=ARTIFICIAL_INTELLIGENCE,
        version=identity.model_version,
        source=PRODUCT,
        parameters={"sha256": identity.model_digest, "settings": identity.settings_digest},
    )
