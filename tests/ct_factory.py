"""Small valid CT series of any orientation, with known values in every voxel."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

from segmenter.volume.geometry import Geometry

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
HEAD_DOWN = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)  # the normal runs towards the feet
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
OBLIQUE = (0.9396926, 0.3420201, 0.0, -0.2961981, 0.8137977, -0.5)
ORIENTATIONS = {
    "axial": AXIAL, "head-down": HEAD_DOWN, "sagittal": SAGITTAL, "coronal": CORONAL, "oblique": OBLIQUE
}  # fmt: skip

Edit = Callable[[int, Dataset], None]


@dataclass(frozen=True)
class CtSpec:
    """A grid and the content of its files; spacing `(z, y, x)` mm, pixels deliberately not square.

    tilt: angle in degrees, about the rows, by which the slices are stacked off their normal; spacing[0] is along it.
    """

    shape: tuple[int, int, int] = (20, 24, 28)
    spacing: tuple[float, float, float] = (3.0, 2.5, 2.0)
    orientation: tuple[float, ...] = AXIAL
    centre: tuple[float, float, float] = (12.0, -34.0, -410.0)
    slope: float = 1.0
    intercept: float = -1024.0
    tags: dict[str, object] = field(default_factory=dict)
    tilt: float = 0.0

    @property
    def geometry(self) -> Geometry:
        row, column = np.array(self.orientation).reshape(2, 3)
        affine = np.eye(4)
        angle = np.radians(self.tilt)
        axes = (np.cross(row, column) * np.cos(angle) + column * np.sin(angle), column, row)
        affine[:3, :3] = np.stack([a * s for a, s in zip(axes, self.spacing, strict=True)], axis=1)
        affine[:3, 3] = np.array(self.centre) - affine[:3, :3] @ ((np.array(self.shape) - 1) / 2)
        return Geometry(self.shape, affine)

    def hu(self) -> NDArray[np.int16]:
        """Random numbers, so that every flip or shift is detected."""
        return np.random.default_rng(7).integers(-1000, 2000, self.shape).astype(np.int16)

    def balls(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Two disjoint balls in patient space: one towards the patient's left (+X), one towards the right."""
        points = self.geometry.to_patient(np.moveaxis(np.indices(self.shape), 0, -1))
        centre = np.array(self.centre)
        return tuple(  # type: ignore[return-value]
            np.linalg.norm(points - centre - offset, axis=-1) < 11 for offset in ((14, 0, 4), (-14, 3, -6))
        )


def write_ct(folder: Path, spec: CtSpec, edit: Edit = lambda index, ds: None) -> list[Path]:
    """Write one file per slice, with names and instance numbers independent of the order."""
    order = list(range(spec.shape[0]))
    random.Random(3).shuffle(order)
    folder.mkdir(parents=True, exist_ok=True)
    files, hu = [], spec.hu()
    for index in range(spec.shape[0]):
        ds = _common(spec, CTImageStorage, f"1.2.826.0.1.3680043.9.1.{index + 1}")
        ds.InstanceNumber = order[index] + 1
        ds.ImagePositionPatient = _position(spec, index)
        ds.ImageOrientationPatient = _texts(spec.orientation)
        ds.PixelSpacing = _texts(spec.spacing[1:])
        ds.SliceThickness = f"{spec.spacing[0]:g}"
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = f"{spec.slope:g}", f"{spec.intercept:g}", "HU"
        ds.PixelData = _stored(spec, hu[index])
        edit(index, ds)
        path = folder / f"{order[index]:03d}.dcm"
        ds.save_as(path, enforce_file_format=True)
        files.append(path)
    return files


def write_own_series(folder: Path, spec: CtSpec, edit: Edit = lambda index, ds: None) -> list[Path]:
    """Write a series with UIDs of its own below `folder`; returns its files in the order of their names."""
    uids = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid()}

    def own(index: int, ds: Dataset) -> None:
        ds.SOPInstanceUID = f"{uids['SeriesInstanceUID'][:58]}.{index + 1}"
        edit(index, ds)
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID

    own_spec = replace(spec, tags=uids | spec.tags)
    return sorted(write_ct(folder / uids["SeriesInstanceUID"], own_spec, own))


def write_enhanced(
    folder: Path, spec: CtSpec, edit: Edit = lambda index, frame: None, name: str = "enhanced"
) -> list[Path]:
    """Write the same volume as one enhanced multi-frame CT, frames out of order.

    edit: called with the index of each slice and the item of its frame.
    """
    order = list(range(spec.shape[0]))
    random.Random(5).shuffle(order)
    ds = _common(spec, EnhancedCTImageStorage, "1.2.826.0.1.3680043.9.1.77")
    ds.NumberOfFrames = len(order)
    shared, orientation, measures, rescale = Dataset(), Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = _texts(spec.orientation)
    measures.PixelSpacing, measures.SliceThickness = _texts(spec.spacing[1:]), f"{spec.spacing[0]:g}"
    rescale.RescaleSlope, rescale.RescaleIntercept = f"{spec.slope:g}", f"{spec.intercept:g}"
    rescale.RescaleType = "HU"
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    shared.PixelValueTransformationSequence = [rescale]
    ds.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for index in order:
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = _position(spec, index)
        frame.PlanePositionSequence = [position]
        edit(index, frame)
        frames.append(frame)
    ds.PerFrameFunctionalGroupsSequence = frames
    ds.PixelData = _stored(spec, spec.hu()[order])
    folder.mkdir(parents=True, exist_ok=True)
    ds.save_as(folder / f"{name}.dcm", enforce_file_format=True)
    return [folder / f"{name}.dcm"]


def _common(spec: CtSpec, sop_class: str, uid: str) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = sop_class
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = uid
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.Modality = "CT"
    ds.StudyInstanceUID = "1.2.826.0.1.3680043.9.2"
    ds.SeriesInstanceUID = "1.2.826.0.1.3680043.9.3"
    ds.FrameOfReferenceUID = "1.2.826.0.1.3680043.9.4"
    ds.PositionReferenceIndicator = ""
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.PatientName, ds.PatientID = "Möller^Käthe", "SECRET-4711"
    ds.PatientBirthDate, ds.PatientSex = "19400229", "F"
    ds.StudyDate, ds.StudyTime, ds.StudyID = "20240501", "101500", "S1"
    ds.AccessionNumber, ds.ReferringPhysicianName = "", ""
    ds.ContentDate, ds.ContentTime = "20240501", "102030"
    ds.SeriesNumber = 4
    ds.Rows, ds.Columns = spec.shape[1:]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    for keyword, value in spec.tags.items():
        setattr(ds, keyword, value)
    return ds


def _stored(spec: CtSpec, hu: NDArray[np.int16]) -> bytes:
    return np.rint((hu - spec.intercept) / spec.slope).astype("<u2").tobytes()


def _position(spec: CtSpec, index: int) -> list[str]:
    return _texts(spec.geometry.to_patient(np.array([index, 0, 0])))


def _texts(values: object) -> list[str]:
    return [f"{float(value):.6f}" for value in values]  # type: ignore[attr-defined]
