"""Compare a DICOM-SEG with a truth mask in patient space, independent of the code that wrote it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813 - its customary name
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

SIDES = {"7771000": "left", "24028007": "right"}  # SNOMED CT laterality modifiers (PS3.16 CID 244)


@dataclass(frozen=True, eq=False)
class Segment:
    """One segment: label, side (may be empty), voxel centres `(n, 3)` in LPS mm, mL per voxel."""

    label: str
    side: str
    points: NDArray[np.float64]
    voxel_ml: float

    @property
    def volume_ml(self) -> float:
        """Volume of all voxels, mL."""
        return len(self.points) * self.voxel_ml


def read_segments(path: Path) -> list[Segment]:
    """Return the segments of a BINARY segmentation (PS3.3 A.51), placed by the positions of their frames."""
    ds = dcmread(path)
    frames = np.reshape(ds.pixel_array, (ds.NumberOfFrames, ds.Rows, ds.Columns))
    shared = ds.SharedFunctionalGroupsSequence[0]
    measures = shared.PixelMeasuresSequence[0]
    row_mm, column_mm = map(float, measures.PixelSpacing)
    along_row, along_column = np.reshape(shared.PlaneOrientationSequence[0].ImageOrientationPatient, (2, 3)).astype(
        float
    )
    points: dict[int, list[NDArray[np.float64]]] = {item.SegmentNumber: [] for item in ds.SegmentSequence}
    for frame, group in zip(frames, ds.PerFrameFunctionalGroupsSequence, strict=True):
        origin = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        rows, columns = np.nonzero(frame)
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        # PS3.3 C.7.6.2.1.1: a row's number counts along the column direction, and the reverse.
        points[number].append(origin + rows[:, None] * row_mm * along_column + columns[:, None] * column_mm * along_row)
    voxel_ml = row_mm * column_mm * float(measures.SpacingBetweenSlices) / 1000.0
    return [
        Segment(str(item.SegmentLabel), _side(item), np.concatenate(points[item.SegmentNumber]), voxel_ml)
        for item in ds.SegmentSequence
    ]


def _side(item: Dataset) -> str:
    """Return the side from the type modifier of a SegmentSequence item, or an empty string."""
    kinds = item.get("SegmentedPropertyTypeCodeSequence") or [Dataset()]
    modifiers = kinds[0].get("SegmentedPropertyTypeModifierCodeSequence") or []
    return next((SIDES[code.CodeValue] for code in modifiers if code.CodeValue in SIDES), "")


def dice(segments: list[Segment], truth: Path) -> float:
    """Return the Dice coefficient of the union of the segments and a mask file (NIfTI; every voxel that is not 0).

    Each voxel centre is looked up in the mask at its patient position: the grids may differ.
    """
    image = sitk.ReadImage(str(truth))
    mask = sitk.GetArrayViewFromImage(image) != 0
    points = np.concatenate([segment.points for segment in segments])
    scaled = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    index = np.rint((points - image.GetOrigin()) @ np.linalg.inv(scaled).T).astype(int)[:, ::-1]
    inside = np.all((index >= 0) & (index < mask.shape), axis=1)
    hits = mask[tuple(index[inside].T)].sum()
    voxel_ml = segments[0].voxel_ml
    truth_ml = mask.sum() * float(np.prod(image.GetSpacing())) / 1000.0
    return float(2.0 * hits * voxel_ml / (len(points) * voxel_ml + truth_ml))
