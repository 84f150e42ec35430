"""A segmenter for the worker tests: writes a valid DICOM object, and behaves as the test orders."""

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from billiard.exceptions import SoftTimeLimitExceeded
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RawDataStorage, generate_uid

from segmenter.errors import Reason, SegmenterError, Verdict
from worker.segmentation import SegmentationOutput

ERRORS = {
    "memory": MemoryError(),
    "nested": RecursionError(),
    "broken": ValueError("DOE^JANE"),
    "declined": SegmenterError(Reason.TOO_SHORT, "the scan is too short", Verdict.DECLINED),
    "held": SegmenterError(Reason.GANTRY_TILT, "the gantry is tilted by 5 degrees", Verdict.HELD),
}


@dataclass(frozen=True)
class StubSegmenter:
    """Reads `order` in its folder: quick, wait (for `go`), stuck (once), die, or the name of one of ERRORS."""

    folder: Path

    def preload(self) -> None:
        self._note("loads")

    def segment(self, files, out, created, on_stage, model="", extras=None) -> SegmentationOutput:
        self._note("runs")
        on_stage("read")
        source = dcmread(files[0])
        on_stage("segment")
        self._obey((self.folder / "order").read_text())
        on_stage("write")
        target = out / "seg.dcm"
        write_object(source, created, target)
        report = out / "report.json"
        report.write_text(f'{{"outputs": ["{target.name}"]}}')
        return SegmentationOutput((target, report), {"outputs": [target.name], "timings": {"segment": 0.1}})

    def _obey(self, order: str) -> None:
        match order:
            case "wait":
                while not (self.folder / "go").exists():
                    time.sleep(0.02)
            case "stuck":
                (self.folder / "order").write_text("quick")
                stay_for_ever()
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case _ if order in ERRORS:
                raise ERRORS[order]

    def _note(self, name: str) -> None:
        with (self.folder / name).open("a") as file:
            file.write(f"{os.getpid()}\n")


def stay_for_ever() -> None:
    while True:
        with contextlib.suppress(SoftTimeLimitExceeded):
            time.sleep(60)


def write_object(source: Dataset, created, target: Path) -> None:
    """Write a Raw Data object of the source's study; the same source and time give the same bytes."""
    made = Dataset()
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "StudyID", "AccessionNumber"):
        setattr(made, keyword, source.get(keyword, ""))
    made.SOPClassUID = RawDataStorage
    made.SOPInstanceUID = generate_uid(entropy_srcs=[source.SOPInstanceUID])
    made.SeriesInstanceUID = generate_uid(entropy_srcs=[source.SeriesInstanceUID])
    made.Modality = "OT"
    made.ContentDate, made.ContentTime = created.strftime("%Y%m%d"), created.strftime("%H%M%S")
    made.ContentDescription = "for investigational use"
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.save_as(target, enforce_file_format=True)
