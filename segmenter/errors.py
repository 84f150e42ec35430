"""The segmenter's one error tree: every refusal names its reason, the rule and the value found.

REASON_HELP is the source of docs/operate/reasons.md.
"""

from dataclasses import dataclass
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
    MIXED_PATIENT = "mixed-patient"
    MIXED_STUDY = "mixed-study"
    SHARED_UID = "shared-uid"
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
    TRANSFER_SYNTAX = "transfer-syntax"
    ORIENTATION = "orientation"
    TOO_SHORT = "too-short"
    READBACK = "readback"
    MODEL = "model"
    SETTINGS = "settings"
    CASES = "cases"
    MESH = "mesh"
    OUT_OF_MEMORY = "out-of-memory"
    TOO_NESTED = "nested-too-deeply"
    DISK = "disk-error"


@dataclass(frozen=True)
class ReasonHelp:
    """meaning: what happened, one or two sentences. action: what to do about it."""

    meaning: str
    action: str


REASON_HELP: dict[Reason, ReasonHelp] = {
    Reason.NOT_CT: ReasonHelp(
        "The series is not CT, or its objects are not CT images.",
        "Nothing. Only CT is segmented, and `retry` does not change that.",
    ),
    Reason.LOCALISER: ReasonHelp(
        "All images of the series are localisers.",
        "Nothing. The scan itself is another series of the study.",
    ),
    Reason.UNREADABLE: ReasonHelp(
        "A file cannot be read as DICOM, a header breaks its own rules, or pixels cannot be decoded.",
        "Export the series again, uncompressed and under new UIDs, and send that.",
    ),
    Reason.MIXED_SERIES: ReasonHelp(
        "The files belong to several series.",
        "Give `segment` a folder with one CT series.",
    ),
    Reason.MIXED_PATIENT: ReasonHelp(
        "The images of the series name different patients. The sentence says which attributes differ.",
        "Find out whose images they are. After a correction in the archive, send the whole series again. Else send "
        "those of each patient under a Series Instance UID of their own, then `cancel ID`. `release` does not help.",
    ),
    Reason.MIXED_STUDY: ReasonHelp(
        "The images of the series name different studies. The sentence says which attributes differ.",
        "Find out to which study they belong. Send those of each study under a Series Instance UID of their own, then "
        "`cancel ID`. `release` does not help.",
    ),
    Reason.SHARED_UID: ReasonHelp(
        "Different images have one SOP Instance UID, so a result cannot say to which of them it refers.",
        "Export the series again with a SOP Instance UID for each image.",
    ),
    Reason.MIXED_ORIENTATION: ReasonHelp(
        "The slices of the series have different orientations.",
        "Send each reformation as its own series, then `cancel ID`. `release` does not help.",
    ),
    Reason.MIXED_GRID: ReasonHelp(
        "The images of the series differ in rows, columns or pixel spacing.",
        "Send each reconstruction as its own series, then `cancel ID`. `release` does not help.",
    ),
    Reason.MIXED_FRAME_OF_REFERENCE: ReasonHelp(
        "The images of the series have different frames of reference, so their relative position is unknown.",
        "Send the images of each frame of reference as their own series, then `cancel ID`. `release` does not help.",
    ),
    Reason.MISSING_GEOMETRY: ReasonHelp(
        "Position, orientation, pixel spacing or frame of reference is missing or impossible in some images.",
        "Export the series again with complete headers, under new UIDs; check what anonymisation or the PACS removes.",
    ),
    Reason.DUPLICATE_POSITION: ReasonHelp(
        "Several different images lie at the same place.",
        "Send each reconstruction or phase as its own series.",
    ),
    Reason.SEVERAL_STACKS: ReasonHelp(
        "The series holds several acquisitions, each of which could be the scan. The sentence names them.",
        "Send the one to be segmented as its own series.",
    ),
    Reason.GAP: ReasonHelp(
        "Slices are missing inside the stack. The sentence names their places.",
        "Send the missing slices, or the whole series: a new revision starts automatically. `release` does not help.",
    ),
    Reason.UNEVEN_STEPS: ReasonHelp(
        "The slices are not evenly spaced: their distance changes within the scan, or some lie more than a tenth of a "
        "step from their place.",
        "Reconstruct the series with one slice distance. If slices are missing, send them.",
    ),
    Reason.SCATTERED: ReasonHelp(
        "The slices are shifted against each other within their plane.",
        "Reconstruct all slices with the same centre.",
    ),
    Reason.GANTRY_TILT: ReasonHelp(
        "The slices are stacked at more than 30 degrees to their normal.",
        "Reconstruct the series without tilt.",
    ),
    Reason.MISSING_RESCALE: ReasonHelp(
        "Rescale Slope or Intercept is missing or impossible, so pixel values cannot be turned into HU.",
        "Export the series again with complete headers, under new UIDs.",
    ),
    Reason.NOT_HU: ReasonHelp(
        "The pixel values are not Hounsfield units: the image is in colour, a map (iodine, material removed, atomic "
        "number, electron or relative density, perfusion) or a projection (MIP).",
        "Send the original CT series instead of the derived one.",
    ),
    Reason.PIXEL_FORMAT: ReasonHelp(
        "The pixels are stored in a format that CT images do not have, or use bits the header does not announce.",
        "Send the original series, or export this one again under new UIDs.",
    ),
    Reason.TRANSFER_SYNTAX: ReasonHelp(
        "The pixels are compressed in a way that is not supported. The sentence names the transfer syntax.",
        "Set the sender to propose Explicit VR Little Endian, or a lossless syntax of JPEG, JPEG-LS, JPEG 2000 or RLE; "
        "then send the series again under new UIDs.",
    ),
    Reason.ORIENTATION: ReasonHelp(
        "The anatomy lies otherwise than the header says (prone, not supine): left and right may be exchanged.",
        "Find out how the patient lay, correct Patient Position and the orientation of the images, and send the series "
        "again under new UIDs.",
    ),
    Reason.TOO_SHORT: ReasonHelp(
        "The series has too few slices or covers too little for a hip.",
        "Usually nothing: it is not the scan. If slices are missing, send them. "
        "`retry ID` segments a series of at least 5 slices and 40 mm all the same.",
    ),
    Reason.READBACK: ReasonHelp(
        "The segmentation failed a check after it was written, and was deleted. Nothing was sent.",
        "`retry ID` once. If it fails again, please report it with the sentence: it is an error of the program.",
    ),
    Reason.MODEL: ReasonHelp(
        "The weights are missing, damaged or not of this version; or the settings of a training run have faults.",
        "Run `qct-node check`, correct `segmenter.model` or the model of the route, or install the model again; "
        "restart the node, then `retry ID`.",
    ),
    Reason.SETTINGS: ReasonHelp(
        "The calibration file cannot be used. The sentence names every fault.",
        "Correct the file that `segmenter.calibration` names, restart the node, then `release ID`.",
    ),
    Reason.CASES: ReasonHelp(
        "The folder of cases for `evaluate` or `train` has faults. The sentence names them.",
        "Correct `cases.csv` and the files it names (docs/evidence/protocol.md).",
    ),
    Reason.MESH: ReasonHelp(
        "`segment --mesh` found no closed surface with the volume of the mask.",
        "Run it without `--mesh`: all other results come.",
    ),
    Reason.OUT_OF_MEMORY: ReasonHelp(
        "The series needs more memory than the machine, its GPU or the limit of the service has left.",
        "Give the machine more memory, run fewer workers on it, or set `segmenter.device` to `cpu`; then `retry ID`.",
    ),
    Reason.TOO_NESTED: ReasonHelp(
        "Sequences of an object lie in each other so deeply that it cannot be read; no scanner writes such objects.",
        "Find out where the object comes from. Export the series again without private attributes, under new UIDs.",
    ),
    Reason.DISK: ReasonHelp(
        "A file could not be read or written while the series was segmented. The sentence has the system's own words.",
        "Free space, or repair the disk or the rights of the folder; then `retry ID`.",
    ),
}

ALLOCATION_FAILED = ("out of memory", "allocate memory", "bad_alloc", "bad allocation")
"""How libraries in C++ word it that memory ran out (torch, SimpleITK); they raise RuntimeError."""


class SegmenterError(Exception):
    """A named refusal; the message is a sentence a person can act on, or one per line, without patient data.

    What is not printable in it is escaped.
    """

    def __init__(self, reason: Reason, message: str, verdict: Verdict = Verdict.HELD, *, retry: bool = False) -> None:
        super().__init__("".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in message))
        self.reason = reason
        self.verdict = verdict
        self.retry = retry


def refusal_for(error: Exception) -> SegmenterError | None:
    """Return the named refusal for an error that any step can raise: memory, recursion, disk; None for others."""
    if isinstance(error, SegmenterError):
        return error
    words = str(error).lower()
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(part in words for part in ALLOCATION_FAILED)
    ):
        return SegmenterError(
            Reason.OUT_OF_MEMORY, "the series needs more memory than this process can have", Verdict.FAILED
        )
    if isinstance(error, RecursionError):
        return SegmenterError(Reason.TOO_NESTED, "the sequences of an object are nested too deeply to be read")
    if isinstance(error, OSError) and error.strerror:
        return SegmenterError(Reason.DISK, f"a file could not be read or written: {error.strerror}", Verdict.FAILED)
    return None
