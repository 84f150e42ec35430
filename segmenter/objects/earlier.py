"""Earlier results of the same series, which a result replaces because more images have arrived since."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

WARNING = "it replaces an earlier result of this series, which was made before all of its images had arrived"
"""For report, picture and page: of two results of a series the reader must know the one that counts."""


@dataclass(frozen=True)
class EarlierResult:
    """An object that is replaced, by its UIDs."""

    sop_class_uid: str
    sop_uid: str
    series_uid: str


def read_earlier(files: Iterable[Path]) -> tuple[EarlierResult, ...]:
    """Return the DICOM objects among the files of earlier results, in the order of the files."""
    keywords = ["SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID"]
    found = []
    for path in files:
        try:
            header = dcmread(path, stop_before_pixels=True, specific_tags=keywords)
        except InvalidDicomError:
            continue
        found.append(EarlierResult(*(str(header[keyword].value) for keyword in keywords)))
    return tuple(found)
