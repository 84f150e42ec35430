"""Whether a quiet series has arrived whole: a pure decision from the headers of its slices.

It looks at headers only. What needs pixels or a finer eye (copies of a slice, tilt, uneven steps) is the segmenter's.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import median

from node.ledger.records import Decision, Header
from node.states import JobState, Reason
from node.uids import CT_CLASSES

MIN_SLICES = 2
MIN_LENGTH_MM = 20.0
AXES_TOLERANCE = 1e-3  # of direction cosines
GAP = 1.5  # usual steps; scanners round positions to a decimal, which makes thin steps wander by several per cent
SAME_POSITION_MM = 0.01

Vector = tuple[float, float, float]


def judge(headers: Sequence[Header]) -> Decision:
    """Decide whether a series that has been quiet for long enough is whole.

    Returns COMPLETE; or DECLINED (not CT, localisers only, too short: nothing to wait for) or HELD (a gap, mixed or
    missing geometry: a person, or the missing slices, can mend it) with the reason.
    """
    foreign = _not_ct(headers)
    if foreign:
        return Decision(JobState.DECLINED, Reason.NOT_CT, foreign)
    images = [header for header in headers if "LOCALIZER" not in header.image_type]
    if not images:
        found = f"all {len(headers)} images are localisers: the scan itself is another series"
        return Decision(JobState.DECLINED, Reason.LOCALISER, found)
    if any(image.frames > 1 for image in images):
        return Decision(JobState.COMPLETE)  # an enhanced object is whole by itself; its frames are the segmenter's
    return _mixed(images) or _stack(images) or Decision(JobState.COMPLETE)


def _not_ct(headers: Sequence[Header]) -> str:
    modalities = sorted({header.modality or "none" for header in headers} - {"CT"})
    if modalities:
        return f"the modality is {', '.join(modalities)}: only CT is segmented"
    classes = sorted({header.sop_class_uid for header in headers} - CT_CLASSES)
    return f"the objects are no CT images, but of SOP class {', '.join(classes)}" if classes else ""


def _mixed(images: Sequence[Header]) -> Decision | None:
    """Refuse images without a place in the patient, or which do not belong on one grid."""
    lost = sum(image.position is None or image.orientation is None or image.spacing is None for image in images)
    if lost:
        sentence = f"{lost} of {len(images)} images lack ImagePositionPatient, ImageOrientationPatient or PixelSpacing"
        return Decision(JobState.HELD, Reason.MISSING_GEOMETRY, sentence)
    rules: tuple[tuple[Reason, str, Callable[[Header], object]], ...] = (
        (Reason.MIXED_FRAME_OF_REFERENCE, "frames of reference", lambda h: h.frame_of_reference),
        (Reason.MIXED_GRID, "pixel grids", lambda h: (h.rows, h.columns, *(round(s, 6) for s in h.spacing or ()))),
    )
    for reason, what, key in rules:
        found = len({key(image) for image in images})
        if found > 1:
            return Decision(JobState.HELD, reason, f"the series has {found} different {what}, needed is one")
    first = images[0].orientation or ()
    if any(_differ(image.orientation or (), first) for image in images):
        sentence = "the slices do not all look the same way: send each reformation as its own series"
        return Decision(JobState.HELD, Reason.MIXED_ORIENTATION, sentence)
    return None


def _stack(images: Sequence[Header]) -> Decision | None:
    """Refuse a stack with a hole in it or too short for a hip; sorted along the normal, never by Instance Number."""
    normal = _normal(images[0].orientation or ())
    places = sorted((_dot(image.position, normal), image.position) for image in images if image.position)
    steps = [(low, high, high[0] - low[0]) for low, high in pairwise(places)]
    steps = [step for step in steps if step[2] > SAME_POSITION_MM]
    length = places[-1][0] - places[0][0]
    if len(steps) + 1 < MIN_SLICES or length < MIN_LENGTH_MM:
        sentence = (
            f"{len(steps) + 1} slices over {length:.1f} mm are too few for a hip: {MIN_LENGTH_MM:.0f} mm are needed"
        )
        return Decision(JobState.DECLINED, Reason.TOO_SHORT, sentence)
    usual = median(step for _, _, step in steps)
    axis = max(range(3), key=lambda i: abs(normal[i]))
    for low, high, step in steps:
        if step > GAP * usual:
            missing = max(round(step / usual) - 1, 1)
            what = "a slice is" if missing == 1 else f"{missing} slices are"
            sentence = (
                f"{what} missing between {'xyz'[axis]}={low[1][axis]:.1f} and {'xyz'[axis]}={high[1][axis]:.1f} mm"
            )
            return Decision(JobState.HELD, Reason.GAP, sentence)
    return None


def _differ(one: Sequence[float], other: Sequence[float]) -> bool:
    return any(abs(a - b) > AXES_TOLERANCE for a, b in zip(one, other, strict=True))


def _normal(orientation: Sequence[float]) -> Vector:
    """Return row direction x column direction, the normal of the slices (PS3.3 C.7.6.2.1.1)."""
    (a, b, c), (d, e, f) = orientation[:3], orientation[3:]
    return b * f - c * e, c * d - a * f, a * e - b * d


def _dot(one: Sequence[float], other: Vector) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))
