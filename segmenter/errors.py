"""The segmenter's one error tree: every refusal names its reason, the rule and the value found."""

from enum import StrEnum


class Verdict(StrEnum):
    """What a refusal means for the study."""

    DECLINED = "declined"  # not for us, and never will be
    HELD = "held"  # a person must look: it may become good
    FAILED = "failed"  # we could not do our work


class Reason(StrEnum):
    """Why a series cannot be segmented; stable names for scripts and statistics."""

    NOT_CT = "not-ct"
    LOCALISER = "localiser"
    UNREADABLE = "unreadable"
    MIXED_SERIES = "mixed-series"
    MIXED_ORIENTATION = "mixed-orientation"
    MIXED_GRID = "mixed-grid"
    MIXED_FRAME_OF_REFERENCE = "mixed-frame-of-reference"
    MISSING_GEOMETRY = "missing-geometry"
    DUPLICATE_POSITION = "duplicate-position"
    SEVERAL_STACKS = "several-stacks"
    GAP = "gap"
    UNEVEN_STEPS = "uneven-steps"
    SCATTERED = "scattered-slices"
    GANTRY_TILT = "gantry-tilt"
    MISSING_RESCALE = "missing-rescale"
    NOT_HU = "not-hu"
    PIXEL_FORMAT = "pixel-format"
    TOO_SHORT = "too-short"
    READBACK = "readback"
    MODEL = "model"
    SETTINGS = "settings"
    CASES = "cases"
    MESH = "mesh"


class SegmenterError(Exception):
    """A named refusal; the message is one sentence a person can act on, without patient data."""

    def __init__(self, reason: Reason, message: str, verdict: Verdict = Verdict.HELD, *, retry: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.verdict = verdict
        self.retry = retry
