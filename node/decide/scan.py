"""The scan among the objects of a series: what is set aside, and what keeps the rest from being one scan.

The same rules as those of the segmenter (docs/reference/reading.md), from headers only.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from node.decide.slice_stack import differ, stacked
from node.dicom.uids import CT_CLASSES
from node.records.instances import IDENTITY, Header
from node.records.jobs import Decision
from node.records.states import JobState, Reason

MAX_ODD, MAX_ODD_SHARE = 4, 0.05
"""More odd images than these are no oversight: something is wrong with the series. One may always be odd."""
# Values of Image Type by which scanners mark what lies in the series of a scan, but is no part of it.
PLANNING = frozenset({"LOCALIZER", "SCOUT", "TOPOGRAM", "SURVIEW", "SCREEN SAVE", "SCREENSAVE", "DOSE", "DOSE_INFO"})
PATIENT = IDENTITY[:4]

Key = Callable[[Header], object]


@dataclass(frozen=True)
class Scan:
    """The images of the scan. fault: why they are not one scan; they are then all images but localisers."""

    images: tuple[Header, ...]
    fault: Decision | None = None


def ct_images(headers: Sequence[Header]) -> list[Header]:
    """Return the CT images among the objects of a series: reports and presentation states are none."""
    return [header for header in headers if header.modality == "CT" and header.sop_class_uid in CT_CLASSES]


def without_localisers(headers: Sequence[Header]) -> list[Header]:
    """Return the images that Image Type does not mark as localisers or pages."""
    return [header for header in headers if PLANNING.isdisjoint(word.upper() for word in header.image_type)]


def scan_of(headers: Sequence[Header]) -> Scan:
    """Return the scan among the objects of a series.

    A few odd images are set aside: without a place in the patient, or of another grid, orientation or frame of
    reference than most. Objects with many frames are taken as they are; the segmenter checks their frames.
    """
    images = without_localisers(ct_images(headers))
    fault = _mixed_identity(images)
    if fault or any(image.frames > 1 for image in images):
        return Scan(tuple(images), fault)
    placed = [image for image in images if image.position and image.orientation and image.spacing]
    alike = _alike(placed)
    kept = set(map(id, alike))  # to compare headers would take a second for a large scan
    odd = [image for image in images if id(image) not in kept]
    if len(odd) <= max(1, min(MAX_ODD, int(MAX_ODD_SHARE * len(images)))) and not _needs(alike, odd):
        return Scan(tuple(alike))
    return Scan(tuple(images), _lost(images, placed) or _mixed(placed))


def _needs(alike: Sequence[Header], odd: Sequence[Header]) -> bool:
    """Tell whether the images that are alike are no scan without the odd ones, because one may fill a gap."""
    if not odd:
        return False
    if len(alike) < len(odd) + 1:
        return True
    gaps = stacked(alike).gaps
    axis = ["xyz".index(gap.axis) for gap in gaps]
    return any(
        image.position is None or gap.low < image.position[at] < gap.high
        for gap, at in zip(gaps, axis, strict=True)
        for image in odd
    )


def _grid(image: Header) -> object:
    return image.rows, image.columns, *(round(mm, 6) for mm in image.spacing or ())


def _alike(images: Sequence[Header]) -> list[Header]:
    """Return the images that share what most share."""
    keys = [(i.frame_of_reference, _grid(i), *(round(cosine, 2) for cosine in i.orientation or ())) for i in images]
    if not keys:
        return []
    usual = images[keys.index(Counter(keys).most_common(1)[0][0])]
    return [
        image for image in images
        if (image.frame_of_reference, _grid(image)) == (usual.frame_of_reference, _grid(usual))
        and not differ(image.orientation or (), usual.orientation or ())
    ]  # fmt: skip


def _mixed_identity(images: Sequence[Header]) -> Decision | None:
    """Hold images of different patients or days of study; the attributes are named, the values are not known here."""
    known = [image.identity for image in images if image.identity]
    differing = [
        keyword for keyword, found in zip(IDENTITY, zip(*known, strict=True), strict=False) if len(set(found)) > 1
    ]
    if not differing:
        return None
    of_patient = not set(PATIENT).isdisjoint(differing)
    counts = sorted(Counter(known).values(), reverse=True)
    what = "patients" if of_patient else "studies"
    sentence = (
        f"the images of the series belong to different {what} "
        f"({' and '.join(map(str, counts[:4]))}{' and more' if len(counts) > 4 else ''} images): "
        f"they differ in {', '.join(differing)}; find out whose images they are"
    )
    return Decision(JobState.HELD, Reason.MIXED_PATIENT if of_patient else Reason.MIXED_STUDY, sentence)


def _lost(images: Sequence[Header], placed: Sequence[Header]) -> Decision | None:
    if len(placed) == len(images):
        return None
    attributes: dict[str, Key] = {
        "ImagePositionPatient": lambda h: h.position,
        "ImageOrientationPatient": lambda h: h.orientation,
        "PixelSpacing": lambda h: h.spacing,
    }
    named = [keyword for keyword, value in attributes.items() if any(value(image) is None for image in images)]
    sentence = (
        f"{len(images) - len(placed)} of {len(images)} images lack {', '.join(named[:-1])}{' or ' * (len(named) > 1)}"
        f"{named[-1]}, or have no valid numbers there (a decimal comma is none)"
    )
    return Decision(JobState.HELD, Reason.MISSING_GEOMETRY, sentence)


def _mixed(images: Sequence[Header]) -> Decision | None:
    """Hold images that do not share one frame of reference, grid and orientation."""
    rules: tuple[tuple[Reason, str, Key], ...] = (
        (Reason.MIXED_FRAME_OF_REFERENCE, "frames of reference", lambda h: h.frame_of_reference),
        (Reason.MIXED_GRID, "pixel grids", _grid),
    )
    for reason, what, key in rules:
        found = len({key(image) for image in images})
        if found > 1:
            sentence = f"the series has {found} different {what}, expected one"
            if reason is Reason.MIXED_FRAME_OF_REFERENCE and found > len(images) // 2 and _one_stack(images):
                sentence += (
                    ", although the positions of its images form one regular stack: some programs that remove patient "
                    "data or export images give each image a new Frame of Reference UID; export it again with one"
                )
            return Decision(JobState.HELD, reason, sentence)
    first = images[0].orientation or ()
    if any(differ(image.orientation or (), first) for image in images):
        sentence = "the slices do not all have the same orientation: send each reformation as a separate series"
        return Decision(JobState.HELD, Reason.MIXED_ORIENTATION, sentence)
    return None


def _one_stack(images: Sequence[Header]) -> bool:
    first = images[0].orientation or ()
    alike = not any(differ(image.orientation or (), first) for image in images)
    return alike and not stacked(images).gaps and stacked(images).slices == len(images)
