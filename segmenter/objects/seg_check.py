"""Check a SEG before it is released: read it back, compare it with the masks, apply the rules of viewers."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segmenter.errors import Reason, SegmenterError, Verdict
from segmenter.objects.seg_reader import MALFORMED, SegFile, read_seg
from segmenter.objects.viewer_rules import RULES, Rule, in_grid_of_first_frame
from segmenter.read.series import Series
from segmenter.volume.femur import Side

Mask = NDArray[np.bool_]


def check_seg(path: Path, series: Series, masks: Mapping[Side, Mask]) -> tuple[str, ...]:
    """Raise SegmenterError(READBACK, failed) unless the file on disk holds exactly the masks.

    masks: bool `(z, y, x)` on the series' grid. No code of the writer is used: pydicom reads the file, laterality codes
    identify the segments, and frames are placed by their own positions in the patient.
    Returns warnings about viewers that cannot show a correct object.
    """
    return _check(path, series, masks, "BINARY")


def check_labelmap(path: Path, series: Series, masks: Mapping[Side, Mask]) -> tuple[str, ...]:
    """Check a label map as `check_seg` checks a binary segmentation."""
    return _check(path, series, masks, "LABELMAP")


def _check(path: Path, series: Series, masks: Mapping[Side, Mask], kind: str) -> tuple[str, ...]:
    try:
        seg = read_seg(path)
        broken = [name for name, rule in RULES.items() if not _holds(rule, seg, series)]
        faults = [] if broken else _differences(seg, series, masks)
        warnings = () if broken or faults else _limits(seg)
        found = str(seg.data.get("SegmentationType"))
    except MALFORMED as error:
        raise _failed(f"it cannot be read back ({type(error).__name__})") from error
    if broken:
        raise _failed(f"it breaks {len(broken)} rules: {'; '.join(broken)}")
    if found != kind:
        raise _failed(f"its type is {found}, not {kind}")
    if faults:
        raise _failed("; ".join(faults))
    return warnings


def _holds(rule: Rule, seg: SegFile, series: Series) -> bool:
    """Apply a rule; an object that lacks the attributes of the rule breaks it."""
    try:
        return rule(seg, series)
    except MALFORMED:
        return False


def _failed(what: str) -> SegmenterError:
    return SegmenterError(Reason.READBACK, f"the segmentation was not released: {what}", Verdict.FAILED)


def _differences(seg: SegFile, series: Series, masks: Mapping[Side, Mask]) -> list[str]:
    """Compare frame by frame; each frame is located on the source's grid by its own position."""
    sides = seg.sides
    if set(sides.values()) != set(masks):
        return [f"it holds the sides {', '.join(sorted(sides.values()))}, the masks are {', '.join(sorted(masks))}"]
    sizes = {side: int(np.count_nonzero(mask)) for side, mask in masks.items()}
    wrong, strange = dict(sizes), 0  # until a frame shows it, every voxel is missing
    for frame, pixels in zip(seg.frames, seg.pixels(), strict=True):
        index = int(np.rint(series.geometry.to_index(np.asarray(frame.position))[0]))
        for number, side in sides.items():
            if frame.segment in (None, number):
                shown, mask = pixels == (number if seg.is_labelmap else 1), masks[side][index]
                wrong[side] += int(np.count_nonzero(shown != mask)) - int(np.count_nonzero(mask))
        strange += int(np.count_nonzero(pixels > max(sides)))
    faults = [f"the {side} femur is empty" for side, size in sizes.items() if not size]
    faults += [f"{strange} voxels belong to no segment"] if strange else []
    faults += ["the femurs overlap"] if _overlap(masks) else []
    return faults + [
        f"{count} voxels of the {side} femur differ from the mask of {sizes[side]} voxels"
        for side, count in wrong.items() if count
    ]  # fmt: skip


def _overlap(masks: Mapping[Side, Mask]) -> bool:
    """Return whether two femurs share voxels; slice by slice, to save memory."""
    return len(masks) == 2 and any(bool((left & right).any()) for left, right in zip(*masks.values(), strict=True))


def _limits(seg: SegFile) -> tuple[str, ...]:
    """Return a warning where the stack is not straight, which dcmqi in 3D Slicer and MITK cannot read (dcmqi#430)."""
    beside = np.abs(in_grid_of_first_frame(seg)[:, :2]).max()
    if beside < 0.5:
        return ()
    return (
        f"the slices lie up to {beside:.0f} pixels beside a straight stack: viewers that place a segmentation by its "
        "slices (OHIF, Weasis) show it right, 3D Slicer and MITK do not",
    )
