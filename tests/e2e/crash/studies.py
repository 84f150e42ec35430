"""Writes the objects of a plan as DICOM files and records what each of them contains."""

import hashlib
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ct_factory import CtSpec, write_ct
from e2e.crash.study_plan import Item, Kind, StudyPlan, Version
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
    XRayRadiationDoseSRStorage,
    generate_uid,
)

META_BEFORE_LENGTH = 144  # preamble, prefix and the element that holds the length of the rest (PS3.10 7.1)
CUT_BYTES = 40
TRANSFER_SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
IMAGE_ONLY = ("PixelData", "Rows", "Columns", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")


@dataclass(frozen=True)
class Sent:
    """One object as it is sent. sha256: of the transfer syntax's UID and the bytes of the data set."""

    path: Path
    sop_uid: str
    series_uid: str
    sop_class_uid: str
    transfer_syntax: str
    sha256: str


@dataclass(frozen=True)
class Study:
    """A plan with its objects."""

    plan: StudyPlan
    uid: str
    series_uids: tuple[str, ...]
    objects: dict[Item, Sent]


def write_studies(plans: Iterable[StudyPlan], folder: Path, seed: int, processes: int = 2) -> list[Study]:
    """Write every object of every plan below `folder`; the same seed gives the same bytes."""
    with ProcessPoolExecutor(processes) as pool:
        return list(pool.map(partial(_write_study, folder=folder, seed=seed), plans, chunksize=4))


def study_of_files(plan: StudyPlan, files: Iterable[Path]) -> Study:
    """Return a study of one series whose files exist, in the order of the stack; its variants are written."""
    paths = list(files)
    objects = {}
    for item in sorted(plan.items):
        path = paths[item.index]
        objects[item] = read_sent(_write_variant(path) if item.version is Version.VARIANT else path)
    uid = str(dcmread(paths[0], stop_before_pixels=True).StudyInstanceUID)
    return Study(plan, uid, (next(iter(objects.values())).series_uid,), objects)


def read_sent(path: Path) -> Sent:
    """Return the identity and digest of a file that will be sent."""
    header = dcmread(path, stop_before_pixels=True)
    meta = header.file_meta
    return Sent(
        path,
        str(header.SOPInstanceUID),
        str(header.SeriesInstanceUID),
        str(meta.MediaStorageSOPClassUID),
        str(meta.TransferSyntaxUID),
        digest_of_file(path),
    )


def digest_of_file(path: Path) -> str:
    """Return the SHA-256 of the transfer syntax's UID and the bytes after the file meta information."""
    meta = read_file_meta_info(path)
    content = path.read_bytes()[META_BEFORE_LENGTH + meta.FileMetaInformationGroupLength :]
    return hashlib.sha256(str(meta.TransferSyntaxUID).encode() + content).hexdigest()


def result_uid(slices: Iterable[tuple[str, str]]) -> str:
    """Return the UID of the result made from these slices, given as pairs of SOP Instance UID and SHA-256."""
    return str(generate_uid(entropy_srcs=["result", *(part for pair in sorted(slices) for part in pair)]))


def _write_study(plan: StudyPlan, folder: Path, seed: int) -> Study:
    writer = _Writer(plan, f"crash {seed} {plan.number}")
    objects: dict[Item, Sent] = {}
    for number in range(len(plan.series)):
        for version in Version:
            wanted = {item.index for item in plan.items if (item.series, item.version) == (number, version)}
            if wanted:
                target = folder / f"{plan.number:05d}" / f"{number}-{version}"
                for index, path in writer.write(target, number, version):
                    if index in wanted:
                        objects[Item(number, index, version)] = read_sent(path)
    return Study(plan, writer.uid(), tuple(writer.uid(n) for n in range(len(plan.series))), objects)


@dataclass(frozen=True)
class _Writer:
    """Writes one study's series."""

    plan: StudyPlan
    name: str

    def uid(self, *parts: object) -> str:
        return str(generate_uid(entropy_srcs=[" ".join([self.name, *map(str, parts)])]))

    def write(self, folder: Path, number: int, version: Version) -> Iterable[tuple[int, Path]]:
        series = self.plan.series[number]

        def edit(index: int, ds: Dataset) -> None:
            ds.StudyInstanceUID, ds.SeriesInstanceUID = self.uid(), self.uid(number)
            # A variant has the UID of the original; a broken object has a UID of its own.
            ds.SOPInstanceUID = self.uid(number, index, *(["broken"] if version is Version.BROKEN else []))
            if version is Version.VARIANT:
                ds.PixelData = ds.PixelData[::-1]
            _set_kind(ds, series.kind, series.length)
            ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
            ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
            ds.file_meta.TransferSyntaxUID = TRANSFER_SYNTAXES[self.plan.number % 2]

        files = write_ct(folder, CtSpec(shape=(series.length, 8, 10)), edit)
        if version is Version.BROKEN:
            for path in files:
                path.write_bytes(path.read_bytes()[:-CUT_BYTES])
        return enumerate(files)


def _set_kind(ds: Dataset, kind: Kind, length: int) -> None:
    """Turn a CT image into an object of this kind."""
    match kind:
        case Kind.COUNTED_SCAN:
            ds.NumberOfSeriesRelatedInstances = length
        case Kind.LOCALISER:
            ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        case Kind.MAGNETIC:
            ds.Modality, ds.SOPClassUID = "MR", MRImageStorage
        case Kind.DOSE:
            ds.Modality, ds.SOPClassUID = "SR", XRayRadiationDoseSRStorage
            for keyword in IMAGE_ONLY:
                delattr(ds, keyword)


def _write_variant(path: Path) -> Path:
    ds = dcmread(path)
    ds.PixelData = ds.PixelData[::-1]
    target = path.with_suffix(".variant")
    ds.save_as(target, enforce_file_format=True)
    return target
