"""Choose the scan among all objects of a series, and set aside by name the few that are no part of it."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from segmenter.errors import Reason, SegmenterError
from segmenter.read.acquisitions import choose_stack
from segmenter.read.header_values import texts_of
from segmenter.read.slices import Slice, read_header, read_slices
from segmenter.read.stacking import AXES_TOLERANCE, Stack, grid_of, same_image, stack

MAX_ODD, MAX_ODD_SHARE = 4, 0.05
"""More odd images than these are no oversight: something is wrong with the series."""
NAMED = 3
# What refuses one object, but not a scan beside it. An object that cannot be read at all could be a slice of the scan.
OF_ONE_OBJECT = frozenset({
    Reason.NOT_CT, Reason.MISSING_GEOMETRY, Reason.MISSING_RESCALE, Reason.NOT_HU, Reason.PIXEL_FORMAT,
})  # fmt: skip


@dataclass(frozen=True)
class Odd:
    """An object that does not belong to the scan, and why. image: it could be taken for a slice."""

    why: SegmenterError
    image: bool = True


def read_objects(files: Sequence[Path]) -> tuple[list[Slice], list[Odd]]:
    """Return the planes of all files, and the objects that are no CT images or lack what a slice needs.

    Raises SegmenterError when a file cannot be read, or none is a CT image.
    """
    planes: list[Slice] = []
    odd: list[Odd] = []
    for path in sorted(files):
        try:
            planes += read_slices(path)
        except SegmenterError as refusal:
            if refusal.reason not in OF_ONE_OBJECT:
                raise
            odd.append(Odd(refusal, image=refusal.reason is not Reason.NOT_CT or _could_be_a_slice(path)))
    if not planes and odd:
        raise next((each.why for each in odd if each.image), odd[0].why)
    return planes, odd


def _could_be_a_slice(path: Path) -> bool:
    """Tell whether a file that is no CT image by its class could be one all the same: no class, or a place."""
    header = read_header(path)
    return not texts_of(header, "SOPClassUID") or bool(texts_of(header, "ImagePositionPatient"))


def choose_scan(images: Sequence[Slice], odd: Sequence[Odd]) -> tuple[Stack, list[str]]:
    """Return the stack to segment, and warnings that name what was set aside beside it.

    odd: objects of the series that are no slices. Images that differ from most in frame of reference, pixel grid or
    orientation are set aside, too. Raises SegmenterError when what is left is not a whole scan, or when too many
    images are odd.
    """
    require_own_uids(images)
    refusal: SegmenterError | None = None
    odd_images = [each for each in odd if each.image]
    try:
        found, warnings = choose_stack(images)
    except SegmenterError as error:
        refusal = odd_images[0].why if odd_images else _plainly(images, error)
        alike = _alike(images)
        if len(alike) == len(images):
            raise refusal from None
        others = sorted(set(images).difference(alike), key=lambda image: image.sop_instance_uid)
        odd_images += [Odd(_unlike(image, alike[0])) for image in others]
        _require_few(odd_images, len(images), refusal)
        try:
            found, warnings = choose_stack(alike)
        except SegmenterError:
            raise refusal from None
    if odd_images:
        _require_few(odd_images, len(images), refusal or odd_images[0].why)
    every = [*odd_images, *(each for each in odd if not each.image)]
    return found, [*_warnings(every), *warnings]


def require_own_uids(images: Sequence[Slice]) -> None:
    """Raise SegmenterError when different images have one SOP Instance UID; copies of a file are none."""
    by_uid: dict[str, list[Slice]] = defaultdict(list)
    for image in images:
        if image.frame is None:
            by_uid[image.sop_instance_uid].append(image)
    for uid, group in by_uid.items():
        if not all(image.position == group[0].position and same_image(image, group[0]) for image in group[1:]):
            raise SegmenterError(
                Reason.SHARED_UID,
                f"{len(group)} different images have the SOP Instance UID {uid}: no result could say which of them it "
                "means; export the series again with a SOP Instance UID for each image",
            )


def _plainly(images: Sequence[Slice], refusal: SegmenterError) -> SegmenterError:
    """Return the refusal, in other words where only frames of reference differ and the positions form one stack."""
    frames = len({image.frame_of_reference_uid for image in images})
    if refusal.reason is not Reason.MIXED_FRAME_OF_REFERENCE or frames <= len(images) // 2:
        return refusal
    try:
        stack([replace(image, frame_of_reference_uid="") for image in images])
    except SegmenterError:
        return refusal
    return SegmenterError(
        Reason.MIXED_FRAME_OF_REFERENCE,
        f"the {len(images)} images name {frames} frames of reference, although their positions form one regular stack: "
        "some programs that remove patient data or export images give each image a new Frame of Reference UID; "
        "export the series again with one for all images",
    )


def _alike(images: Sequence[Slice]) -> list[Slice]:
    """Return the images that share what most share: frame of reference, pixel grid and orientation."""
    keys = [(image.frame_of_reference_uid, grid_of(image), *np.round(image.axes.ravel(), 2)) for image in images]
    usual = images[keys.index(Counter(keys).most_common(1)[0][0])]
    return [
        image for image in images
        if (image.frame_of_reference_uid, grid_of(image)) == (usual.frame_of_reference_uid, grid_of(usual))
        and np.abs(image.axes - usual.axes).max() <= AXES_TOLERANCE
    ]  # fmt: skip


def _unlike(image: Slice, usual: Slice) -> SegmenterError:
    differences: tuple[tuple[Reason, str, Callable[[Slice], object]], ...] = (
        (Reason.MIXED_FRAME_OF_REFERENCE, "frame of reference", lambda s: s.frame_of_reference_uid),
        (Reason.MIXED_GRID, f"pixel grid ({grid_of(image)})", grid_of),
    )
    reason, what = next(
        ((reason, what) for reason, what, key in differences if key(image) != key(usual)),
        (Reason.MIXED_ORIENTATION, "orientation"),
    )
    return SegmenterError(reason, f"image {image.sop_instance_uid} has another {what} than the others")


def _require_few(odd: Sequence[Odd], images: int, refusal: SegmenterError) -> None:
    if len(odd) > max(1, min(MAX_ODD, int(MAX_ODD_SHARE * images))):
        raise refusal from None


def _warnings(odd: Sequence[Odd]) -> list[str]:
    if not odd:
        return []
    named = [str(each.why) for each in odd[:NAMED]]
    if len(odd) > NAMED:
        named.append(f"and {len(odd) - NAMED} more")
    one = len(odd) == 1
    return [
        f"{len(odd)} object{'' if one else 's'} of the series {'is' if one else 'are'} no part of the scan and "
        f"{'was' if one else 'were'} left out: {'; '.join(named)}"
    ]
