"""A folder of mixed files -> the files of the one CT series in it."""

from collections import defaultdict
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset

from segmenter.errors import Reason, SegmenterError, Verdict
from segmenter.read.slices import CT_CLASSES, UNREADABLE, number_of

NEEDED = ["SOPClassUID", "SeriesInstanceUID", "ImageType"]


def find_series(folder: Path) -> list[Path]:
    """Return the files of the only CT series under the folder that is not all localisers.

    DICOMDIR, other modalities, and files that are not DICOM are skipped. Raises SegmenterError when
    there is no such series, or more than one; the message then names all of them.
    """
    found: dict[str, list[tuple[Path, Dataset]]] = defaultdict(list)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            header = dcmread(path, stop_before_pixels=True, specific_tags=[*NEEDED, "SeriesNumber"])
            for keyword in NEEDED:
                header.get(keyword)  # pydicom decodes a value when it is asked for
        except UNREADABLE:
            continue
        if str(header.get("SOPClassUID")) in CT_CLASSES:
            found[str(header.get("SeriesInstanceUID"))].append((path, header))
    series = {uid: items for uid, items in found.items() if not all(_is_localiser(head) for _, head in items)}
    if not series:
        what = "only localisers" if found else "no CT images"
        reason = Reason.LOCALISER if found else Reason.NOT_CT
        raise SegmenterError(reason, f"the folder holds {what}", Verdict.DECLINED)
    if len(series) > 1:
        names = [
            f"{uid} (number {number_of(items[0][1], 'SeriesNumber') or 0:.0f}, {len(items)} images)"
            for uid, items in series.items()
        ]
        raise SegmenterError(
            Reason.MIXED_SERIES,
            f"the folder holds {len(series)} CT series, expected one: {'; '.join(names)}",
        )
    (items,) = series.values()
    return [path for path, _ in items]


def _is_localiser(header: Dataset) -> bool:
    return "LOCALIZER" in str(header.get("ImageType"))
