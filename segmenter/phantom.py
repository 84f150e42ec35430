"""A synthetic QCT patient as a CT series on disk, with the truth beside it: what the demo and the tests segment.

`OUT/dicom/*.dcm` is the series (CT Image Storage, PS3.3 A.3); `OUT/truth/` holds one mask per femur on the same grid
(`left.nii.gz`, `right.nii.gz`) and `truth.json` with volumes, densities and the rods of the calibration phantom.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from segmenter.femur import Side
from segmenter.geometry import Geometry
from segmenter.synth.patient import Patient, Wishes, sample_patient
from segmenter.synth.scanner import Protocol, noise
from segmenter.uids import derive_uid

STORED_OFFSET = -1024  # RescaleIntercept; stored values are unsigned 12 bit
ABOVE_HEAD_MM = 30.0
SUB_STEP_MM = 1.25  # slices are averaged from layers at most this thick
DATE, TIME = "20260101", "120000"


@dataclass(frozen=True)
class PhantomOptions:
    """The scan of one synthetic patient. Lengths in mm, noise as the standard deviation in HU."""

    seed: int = 1
    slices: int = 72
    size: int = 512
    field_of_view_mm: float = 420.0
    slice_step_mm: float = 2.5
    noise_hu: float = 12.0

    @property
    def pixel_mm(self) -> float:
        """Distance between pixel centres."""
        return round(self.field_of_view_mm / self.size, 6)


def write_phantom(options: PhantomOptions, out: Path, on_slice: Callable[[int], None] = lambda _: None) -> Path:
    """Write series and truth below `out`; return the folder of the series. The same options give the same bytes."""
    folder, truth = out / "dicom", out / "truth"
    folder.mkdir(parents=True, exist_ok=True)
    truth.mkdir(exist_ok=True)
    rng = np.random.default_rng([20260101, options.seed])
    patient = sample_patient(rng, Wishes(metal=False, screws=False))
    if patient.table is not None:
        patient = replace(patient, table=replace(patient.table, with_rods=True))
    geometry = scan_geometry(patient, options)
    masks = {side: np.zeros(geometry.shape, np.uint8) for side in Side}
    bone_hu = dict.fromkeys(Side, 0.0)
    for k, (hu, inside) in enumerate(render_slices(patient, geometry)):
        for side in Side:
            masks[side][k] = inside[side]
            bone_hu[side] += float(hu[inside[side]].sum())
        image = hu + scanner_noise(hu.shape, options, rng)
        dataset = slice_dataset(k, image, geometry, options)
        dataset.save_as(folder / f"{k + 1:04d}.dcm", enforce_file_format=True)
        on_slice(k + 1)
    write_truth(truth, patient, geometry, masks, bone_hu)
    return folder


def scan_geometry(patient: Patient, options: PhantomOptions) -> Geometry:
    """Return the axial grid of the scan: from above the higher head downwards, centred on the patient."""
    top = max(f.landmarks.head_centre[2] + f.landmarks.head_radius for f in patient.femora.values()) + ABOVE_HEAD_MM
    middle = (patient.low + patient.high) / 2
    half = options.field_of_view_mm / 2
    origin = (
        round(middle[0] - half, 3),
        round(middle[1] - half + 20.0, 3),
        round(top - (options.slices - 1) * options.slice_step_mm, 3),
    )
    step = (options.slice_step_mm, options.pixel_mm, options.pixel_mm)
    return Geometry.axial((options.slices, options.size, options.size), step, origin)


def render_slices(
    patient: Patient, geometry: Geometry
) -> Iterator[tuple[NDArray[np.float32], dict[Side, NDArray[np.bool_]]]]:
    """Yield HU `(y, x)` and the femur masks of every slice; a slice is the mean of thinner layers."""
    layers = max(1, round(geometry.spacing[0] / SUB_STEP_MM))
    thin = geometry.spacing[0] / layers
    for k in range(geometry.shape[0]):
        affine = geometry.affine.copy()
        affine[:3, 0] *= thin / geometry.spacing[0]
        affine[2, 3] += k * geometry.spacing[0] - (layers - 1) / 2 * thin
        rendering = patient.render(Geometry((layers, *geometry.shape[1:]), affine))
        # An odd number of layers has one in the slice's middle plane; of an even number the two inner ones straddle it.
        inner = slice((layers - 1) // 2, layers // 2 + 1)
        inside = {side: d[inner].mean(axis=0) < 0 for side, d in rendering.distance.items()}
        yield rendering.hu.mean(axis=0), inside


def scanner_noise(shape: tuple[int, ...], options: PhantomOptions, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return one slice of correlated noise in HU."""
    protocol = replace(Protocol.sample(rng), noise_hu=options.noise_hu, streak=0.0, grain_mm=0.6)
    image: NDArray[np.float32] = noise((1, *shape), (1.0, options.pixel_mm, options.pixel_mm), protocol, rng)[0]
    return image


def slice_dataset(k: int, image: NDArray[np.float32], geometry: Geometry, options: PhantomOptions) -> Dataset:
    """Return one CT Image object with its file meta."""
    name = f"phantom-{options}"
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = derive_uid(name, "instance", str(k))
    dataset.StudyInstanceUID = derive_uid(name, "study")
    dataset.SeriesInstanceUID = derive_uid(name, "series")
    dataset.FrameOfReferenceUID = derive_uid(name, "frame")
    fill_header(dataset, k, geometry, options)
    stored = np.clip(np.round(image) - STORED_OFFSET, 0, 4095).astype("<u2")
    dataset.Rows, dataset.Columns = stored.shape
    dataset.PixelData = stored.tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset


def fill_header(dataset: Dataset, k: int, geometry: Geometry, options: PhantomOptions) -> None:
    """Fill patient, study, series, equipment and image modules; what a synthetic patient does not have stays empty."""
    position = geometry.to_patient(np.array([k, 0, 0]))
    values: dict[str, Any] = {
        "SpecificCharacterSet": "ISO_IR 192",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "StudyDate": DATE, "SeriesDate": DATE, "AcquisitionDate": DATE, "ContentDate": DATE,
        "StudyTime": TIME, "SeriesTime": TIME, "AcquisitionTime": TIME, "ContentTime": TIME,
        "AccessionNumber": f"QCT{options.seed:06d}", "Modality": "CT",
        "Manufacturer": "qct-node", "ManufacturerModelName": "synthetic patient",
        "ReferringPhysicianName": "", "StudyDescription": "Synthetic QCT hip (for investigational use)",
        "SeriesDescription": f"QCT hip {options.slice_step_mm:g} mm",
        "PatientName": f"Phantom^Synthetic {options.seed}", "PatientID": f"QCT-PHANTOM-{options.seed}",
        "PatientBirthDate": "", "PatientSex": "O", "BodyPartExamined": "PELVIS",
        "SliceThickness": f"{options.slice_step_mm:g}", "KVP": "120", "ConvolutionKernel": "STANDARD",
        "PatientPosition": "HFS", "StudyID": str(options.seed), "SeriesNumber": "2", "AcquisitionNumber": "1",
        "InstanceNumber": str(geometry.shape[0] - k), "PositionReferenceIndicator": "",
        "ImagePositionPatient": [f"{v:.10g}" for v in position],
        "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"],
        "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2",
        "PixelSpacing": [f"{options.pixel_mm:g}"] * 2, "BitsAllocated": 16, "BitsStored": 12, "HighBit": 11,
        "PixelRepresentation": 0, "WindowCenter": "300", "WindowWidth": "1500",
        "RescaleIntercept": str(STORED_OFFSET), "RescaleSlope": "1", "RescaleType": "HU",
    }  # fmt: skip
    for keyword, value in values.items():
        setattr(dataset, keyword, value)


def write_truth(
    folder: Path,
    patient: Patient,
    geometry: Geometry,
    masks: dict[Side, NDArray[np.uint8]],
    bone_hu: dict[Side, float],
) -> None:
    """Write masks and `truth.json`; densities in mg/cm3 hydroxyapatite equivalent, volumes in mL."""
    table = patient.table
    if table is None:
        raise ValueError("a QCT phantom patient lies on a table with a calibration phantom")
    femora = {}
    for side, mask in masks.items():
        image = sitk.GetImageFromArray(mask)
        image.SetOrigin(tuple(geometry.affine[:3, 3]))
        image.SetSpacing(geometry.spacing[::-1])
        sitk.WriteImage(image, str(folder / f"{side}.nii.gz"))
        count = int(mask.sum())
        density = (bone_hu[side] / max(count, 1) - table.intercept_hu) / table.slope_hu_per_mg_cm3
        volume_ml = count * geometry.voxel_volume_mm3 / 1000
        femora[str(side)] = {
            "volume_ml": round(volume_ml, 3),
            "integral_vbmd_mg_cm3": round(density, 3),
            "bmc_g": round(density * volume_ml / 1000, 4),
        }
    content = {
        "femora": femora,
        "calibration": {
            "equivalent_material": "hydroxyapatite",
            "slope_hu_per_mg_cm3": round(table.slope_hu_per_mg_cm3, 6),
            "intercept_hu": round(table.intercept_hu, 6),
            "rods": table.rods(),
        },
        "note": "synthetic patient, for investigational use",
    }
    (folder / "truth.json").write_text(json.dumps(content, indent=2) + "\n")
