"""The slices of a synthetic patient as CT Image objects (PS3.3 A.3)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from segmenter.objects.uids import derive_uid
from segmenter.synth.series.options import SyntheticSeriesOptions
from segmenter.volume.geometry import Geometry

STORED_OFFSET = -1024  # RescaleIntercept; stored values are unsigned 12 bit
DATE, TIME = "20260101", "120000"


@dataclass(frozen=True, eq=False)
class SliceWriter:
    """Turns slices into data sets. geometry: of the series in stored order; sex: of the patient, F or M."""

    options: SyntheticSeriesOptions
    geometry: Geometry
    sex: str

    def dataset(self, k: int, image: NDArray[np.float32], shown: NDArray[np.bool_] | None) -> Dataset:
        """Return slice `k` with its file meta; image: HU in stored order, shown: its pixels inside the field."""
        name = self.options.name
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID = CTImageStorage
        dataset.SOPInstanceUID = derive_uid(name, "instance", str(k))
        dataset.StudyInstanceUID = derive_uid(name, "study")
        dataset.SeriesInstanceUID = derive_uid(name, "series")
        dataset.FrameOfReferenceUID = derive_uid(name, "frame")
        for keyword, value in {**self._who(), **self._how(), **self._where(k)}.items():
            setattr(dataset, keyword, value)
        stored = np.clip(np.round(image) - STORED_OFFSET, 0, 4095).astype("<u2")
        if shown is not None:
            stored[~shown] = 0
            dataset.PixelPaddingValue = 0
        dataset.Rows, dataset.Columns = stored.shape
        dataset.PixelData = stored.tobytes()
        dataset["PixelData"].VR = "OW"
        return dataset

    def _who(self) -> dict[str, Any]:
        """Return patient and study; attributes that a synthetic patient lacks stay empty."""
        seed = self.options.seed
        return {
            "SpecificCharacterSet": "ISO_IR 192",
            "StudyDate": DATE, "SeriesDate": DATE, "AcquisitionDate": DATE, "ContentDate": DATE,
            "StudyTime": TIME, "SeriesTime": TIME, "AcquisitionTime": TIME, "ContentTime": TIME,
            "AccessionNumber": f"QCT{seed:06d}", "ReferringPhysicianName": "", "StudyID": str(seed),
            "StudyDescription": "Synthetic QCT hip (for investigational use)",
            "PatientName": f"Phantom^Synthetic {seed}", "PatientID": f"QCT-PHANTOM-{seed}",
            "PatientBirthDate": "", "PatientSex": self.sex,
        }  # fmt: skip

    def _how(self) -> dict[str, Any]:
        """Return equipment, series and acquisition."""
        return {
            "Modality": "CT", "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], "BodyPartExamined": "PELVIS",
            "Manufacturer": "qct-node", "ManufacturerModelName": "synthetic patient",
            "SeriesDescription": f"QCT hip {self.options.slice_step_mm:g} mm",
            "SliceThickness": f"{self.options.slice_step_mm:g}", "KVP": "120",
            "ConvolutionKernel": self.options.kernel.upper(), "ReconstructionDiameter": f"{self.options.field_mm:g}",
            "PatientPosition": str(self.options.position), "SeriesNumber": "2", "AcquisitionNumber": "1",
            "PositionReferenceIndicator": "",
        }  # fmt: skip

    def _where(self, k: int) -> dict[str, Any]:
        """Return the image plane and the meaning of its pixels."""
        position = self.geometry.to_patient(np.array([k, 0, 0]))
        _, down, right = self.options.position.signs
        return {
            "InstanceNumber": str(self.geometry.shape[0] - k),
            "ImagePositionPatient": [f"{v:.10g}" for v in position],
            "ImageOrientationPatient": [str(right), "0", "0", "0", str(down), "0"],
            "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2",
            "PixelSpacing": [f"{self.options.pixel_mm:g}"] * 2, "BitsAllocated": 16, "BitsStored": 12, "HighBit": 11,
            "PixelRepresentation": 0, "WindowCenter": "300", "WindowWidth": "1500",
            "RescaleIntercept": str(STORED_OFFSET), "RescaleSlope": "1", "RescaleType": "HU",
        }  # fmt: skip
