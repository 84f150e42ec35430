"""A folder of mixed files -> the files of the one CT series in it, and what else the folder holds."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import MAX_WBITS, decompressobj
from zlib import error as InflateError  # noqa: N812

from pydicom.dataset import Dataset
from pydicom.uid import UID, MediaStorageDirectoryStorage

from segmenter.errors import Reason, SegmenterError, Verdict
from segmenter.read.files import PREAMBLE, PREFIX, UNREADABLE, begins_like_a_data_set, parse_file
from segmenter.read.slices import CT_CLASSES, number_of

NEEDED = ["SOPClassUID", "SeriesInstanceUID", "ImageType", "Modality", "SeriesNumber"]
NAMES_OF_DICOM = frozenset({".dcm", ".dicom", ".ima"})
PICTURES = (b"\xff\xd8\xff", b"\x89PNG", b"II*\0", b"MM\0*", b"GIF8")  # JPEG, PNG, TIFF, GIF
GZIP, ZIP = b"\x1f\x8b", b"PK\x03\x04"

DAMAGED = "cut off or damaged: copy the folder again"
PACKED = "DICOM compressed with gzip: unpack it"
ARCHIVE = "packed as an archive: unpack it if it holds a part of the scan"
PICTURE = "in a picture format such as JPEG: export the series as DICOM"
NO_DICOM = "not DICOM"
LOCALISER = "of a localiser series"
SAYS_CT = "says Modality CT"
CALLED_CT = SAYS_CT + ", but is no CT image: its SOP class is {}"
NO_CLASS = SAYS_CT + ", but its SOP class is missing or not known: export it as CT images"
LOST = frozenset({DAMAGED, PACKED, NO_CLASS})
"""What may be a part of the scan: a series is not taken while such a file lies beside it."""

Items = list[tuple[Path, Dataset]]


@dataclass(frozen=True)
class FolderContent:
    """The files of the one CT series in a folder; unused: why each other file is not part of it."""

    files: tuple[Path, ...]
    unused: Mapping[Path, str]

    @property
    def warnings(self) -> tuple[str, ...]:
        """A sentence that counts the files that were not used, without their names; empty if all were."""
        if not self.unused:
            return ()
        total = len(self.files) + len(self.unused)
        return (f"{len(self.unused)} of {total} files in the folder were not used: {counted(self.unused)}",)


def find_series(folder: Path) -> list[Path]:
    """Return the files of the only CT series under the folder; raises SegmenterError as `search_folder` does."""
    return list(search_folder(folder).files)


def search_folder(folder: Path) -> FolderContent:
    """Find the only CT series under the folder that is not all localisers.

    Raises SegmenterError when there is no such series, when there are several, and when files beside it may be a part
    of it but cannot be read.
    """
    found: dict[str, Items] = defaultdict(list)
    unused: dict[Path, str] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        header = _header(path)
        why = header if isinstance(header, str) else _not_ct(header)
        if why or isinstance(header, str):
            unused[path] = why
        else:
            found[str(header.SeriesInstanceUID)].append((path, header))
    series = {uid: items for uid, items in found.items() if not all(_is_localiser(head) for _, head in items)}
    unused |= {path: LOCALISER for uid, items in found.items() if uid not in series for path, _ in items}
    if not series:
        raise _no_series(unused, only_localisers=bool(found))
    if len(series) > 1:
        raise _several(series)
    ((items),) = series.values()
    lost = {path: why for path, why in unused.items() if why in LOST}
    if lost:
        raise SegmenterError(
            Reason.UNREADABLE,
            f"beside the {len(items)} images of the series the folder holds {len(lost)} files that may be a part of "
            f"it: {counted(lost)}; or remove them from the folder",
        )
    return FolderContent(tuple(path for path, _ in items), unused)


def counted(unused: Mapping[Path, str]) -> str:
    """Return how many files are unused for each reason; names of files are left out, they may hold a patient's name."""
    return "; ".join(f"{count} {why}" for why, count in Counter(unused.values()).most_common())


def _header(path: Path) -> Dataset | str:
    """Return the attributes of a file that are needed here, or why there are none."""
    try:
        header = parse_file(path, before_pixels=True, keywords=NEEDED)
        for keyword in NEEDED:
            header.get(keyword)  # pydicom decodes a value when it is asked for
    except UNREADABLE:
        return _why_unreadable(path)
    return header


def _not_ct(header: Dataset) -> str:
    """Return why a DICOM file is not a CT image of a series; empty if it is one."""
    sop_class = UID(str(header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID") or ""))
    if sop_class in CT_CLASSES:
        return "" if header.get("SeriesInstanceUID") else DAMAGED
    if sop_class == MediaStorageDirectoryStorage:
        return "of the kind DICOMDIR"
    kind = sop_class.name if sop_class.name != sop_class else ""
    if header.get("Modality") == "CT":
        return CALLED_CT.format(kind) if kind else NO_CLASS
    if not header.get("SeriesInstanceUID"):
        return DAMAGED
    return f"of another kind ({kind or 'SOP class not known'})"


def _why_unreadable(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            begin = stream.read(4096)
    except OSError:
        return DAMAGED
    if begin.startswith(GZIP):
        return PACKED if _is_dicom(_unpacked(begin)) else ARCHIVE
    if begin.startswith(ZIP):
        return ARCHIVE
    if begin.startswith(PICTURES):
        return PICTURE
    named = path.suffix.lower() in NAMES_OF_DICOM and not path.name.startswith(".")
    return DAMAGED if named or _is_dicom(begin) else NO_DICOM


def _is_dicom(begin: bytes) -> bool:
    return begin[PREAMBLE : PREAMBLE + len(PREFIX)] == PREFIX or begins_like_a_data_set(begin)


def _unpacked(begin: bytes) -> bytes:
    try:
        return decompressobj(MAX_WBITS | 16).decompress(begin, 1024)
    except InflateError:
        return b""


def _is_localiser(header: Dataset) -> bool:
    return "LOCALIZER" in str(header.get("ImageType"))


def _no_series(unused: Mapping[Path, str], only_localisers: bool) -> SegmenterError:
    others = {path: why for path, why in unused.items() if why not in (LOCALISER, NO_DICOM)}
    aside = f"; {counted(others)}" if others else ""
    if only_localisers:
        return SegmenterError(Reason.LOCALISER, f"the folder holds only localisers{aside}", Verdict.DECLINED)
    if {DAMAGED, PACKED} & set(others.values()):
        return SegmenterError(Reason.UNREADABLE, f"the folder holds no CT series that can be read: {counted(others)}")
    if any(why.startswith(SAYS_CT) for why in others.values()):
        return SegmenterError(
            Reason.NOT_CT,
            f"no file of the folder is a CT image: {counted(others)}; export the series as CT images",
            Verdict.DECLINED,
        )
    return SegmenterError(Reason.NOT_CT, f"the folder holds no CT images{aside}", Verdict.DECLINED)


def _several(series: Mapping[str, Sequence[tuple[Path, Dataset]]]) -> SegmenterError:
    names = [
        f"{uid} (number {number_of(items[0][1], 'SeriesNumber') or 0:.0f}, {len(items)} images)"
        for uid, items in series.items()
    ]
    return SegmenterError(
        Reason.MIXED_SERIES,
        f"the folder holds {len(series)} CT series, expected one: {'; '.join(names)}",
    )
