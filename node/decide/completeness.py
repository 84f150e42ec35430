"""Whether a series is complete: a pure decision from the headers of its slices and the evidence about its sender.

It reads headers only. Copies of a slice, tilt and uneven steps are for the segmenter to judge.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from node.decide.expected_counts import ExpectedCount, expected_counts
from node.decide.scan import ct_images, scan_of
from node.decide.slice_stack import Stack, stacked, without_tracking
from node.dicom.uids import CT_CLASSES
from node.records.instances import Header
from node.records.jobs import Decision, Evidence
from node.records.states import JobState, Reason
from node.settings.sections import Intake

MIN_SLICES = 2
MIN_LENGTH_MM = 20.0
PLAUSIBLE_MM = 80.0
"""From the top of a femoral head to below the trochanters: a shorter scan is probably the first part of one."""
GRACE_SECONDS = 1.0
"""Within this time a sender opens its next association if it uses several for one series."""
SHORT_MM, SHORT_WAITS = 40.0, 3
"""A stack shorter than this would be refused as too short: it must be quiet for so many quiet times."""
PATIENCE = 1.5
"""A sender that has paused between two associations of the series may do so again, and somewhat longer."""
GAPS_NAMED = 3
DOUBTS = {
    Reason.MIXED_STUDY: (
        "other images with its Series Instance UID belong to another study: find out to which study each image "
        "belongs; `release` segments those of this study"
    ),
    Reason.OTHER_SENDER: (
        "images were added to it, after it had been decided, by another sender than that of the first ones: find out "
        "whether they belong to it; `release` segments all of them, `cancel` leaves the former result as it is"
    ),
    Reason.CORRECTED_PATIENT: (
        "its images came again under the same UIDs, but for another patient or day of study; find out which is right: "
        "`release` segments the later ones, `cancel` leaves the former result as it is"
    ),
}


@dataclass(frozen=True)
class Phase:
    """All that the decision takes from the evidence: with the same phase and slices, the decision is the same.

    quiet: no slice came for the quiet time, or for longer than its sender has paused before. very_quiet: for as long as
    a short stack must be quiet. late: it is time to give up. gone: the sender has released all its associations.
    settled: and has opened none within the grace period, or its usual pause. paused: its longest pause, seconds.
    """

    quiet: bool
    very_quiet: bool
    late: bool
    gone: bool
    settled: bool
    open: bool
    sender_open: bool
    broken: bool
    expected: int | None
    expected_from: str
    forced: bool
    paused: float
    findings: tuple[str, ...]

    @classmethod
    def of(cls, evidence: Evidence, rules: Intake) -> "Phase":
        """Return the phase the evidence is in now."""
        ended = evidence.ended is not None and not evidence.open and not evidence.sender_open
        gone = ended and not evidence.broken
        late = evidence.waited >= rules.give_up_seconds
        paused = 0.0 if late else evidence.pause
        return cls(
            quiet=evidence.quiet >= max(rules.quiet_seconds, PATIENCE * paused),
            very_quiet=evidence.quiet >= max(SHORT_WAITS * rules.quiet_seconds, PATIENCE * paused),
            late=late,
            gone=gone,
            settled=gone and evidence.ended is not None and evidence.ended >= max(GRACE_SECONDS, PATIENCE * paused),
            open=evidence.open > 0,
            sender_open=evidence.sender_open > 0,
            broken=evidence.broken,
            expected=evidence.expected,
            expected_from=evidence.expected_from,
            forced=evidence.forced,
            paused=paused,
            findings=evidence.findings(rules.other_sender == "hold"),
        )


def judge(headers: Sequence[Header], evidence: Evidence, rules: Intake) -> Decision:
    """Decide whether a series is complete.

    Returns COMPLETE; RECEIVED (wait, with what for); DECLINED (not CT, localisers only, too short: nothing to wait
    for) or HELD (a gap, missing images, mixed or missing geometry: a person, or the missing slices, can mend it).
    """
    phase = Phase.of(evidence, rules)
    foreign = _not_ct(headers)
    if phase.forced:
        return foreign or Decision(JobState.COMPLETE)
    early = too_early(phase, rules)
    if early:
        return early
    scan = scan_of(headers)
    images = scan.images
    hopeless = foreign or _localisers(headers, images) or scan.fault
    if hopeless:
        return hopeless if phase.quiet or phase.late or phase.settled else _awaiting_quiet(phase, rules)
    stack = None if any(image.frames > 1 for image in images) else _stack(images, phase)
    known = expected_counts(headers, phase.expected, phase.expected_from, rules.expect)
    decision = _missing(stack, known, phase) or _short(stack, phase, rules) or _whole(stack, known, phase, rules)
    return _doubtful(phase) or decision if decision.state is JobState.COMPLETE else decision


def too_early(phase: Phase, rules: Intake) -> Decision | None:
    """Tell what to wait for, whatever the headers say; None: the headers must be read."""
    if phase.forced or phase.quiet or phase.late or phase.gone:
        return None
    if phase.open:
        return _wait("the association is still open")
    if phase.sender_open:
        return _wait("its sender has another association open")
    if phase.broken:
        return _wait(f"an association broke off, so no slice must come for {_patience(phase, rules):g} s")
    return _awaiting_quiet(phase, rules)


def _wait(for_what: str) -> Decision:
    return Decision(JobState.RECEIVED, reason=f"waiting: {for_what}")


def _awaiting_quiet(phase: Phase, rules: Intake) -> Decision:
    return _wait(f"no slice must come for {_patience(phase, rules):g} s")


def _patience(phase: Phase, rules: Intake) -> float:
    """Return for how many seconds no slice must come."""
    return max(rules.quiet_seconds, float(round(PATIENCE * phase.paused)))


def _not_ct(headers: Sequence[Header]) -> Decision | None:
    """Decline a series without a CT image. Reports or pages beside the images of a scan do no harm."""
    if ct_images(headers):
        return None
    modalities = sorted({header.modality or "none" for header in headers} - {"CT"})
    classes = sorted({header.sop_class_uid for header in headers} - CT_CLASSES)
    if modalities:
        sentence = f"the modality is {', '.join(modalities)}: only CT is segmented"
    else:
        sentence = f"the objects are not CT images: their SOP class is {', '.join(classes)}"
    return Decision(JobState.DECLINED, Reason.NOT_CT, sentence)


def _doubtful(phase: Phase) -> Decision | None:
    """Hold a complete series whose objects a person must look at first."""
    if not phase.findings:
        return None
    code = Reason(phase.findings[0])
    return Decision(JobState.HELD, code, DOUBTS[code])


def _localisers(headers: Sequence[Header], images: Sequence[Header]) -> Decision | None:
    if images:
        return None
    found = f"all {len(headers)} images are localisers: the scan itself is another series"
    return Decision(JobState.DECLINED, Reason.LOCALISER, found)


def _stack(images: Sequence[Header], phase: Phase) -> Stack:
    """Return the stack to judge. Once no more slices come, a gap between the scan and bolus tracking does not count."""
    whole = stacked(images)
    if whole.gaps and (phase.quiet or phase.late):
        scan = stacked(without_tracking(images))
        return whole if scan.gaps else scan
    return whole


def _missing(stack: Stack | None, known: Sequence[ExpectedCount], phase: Phase) -> Decision | None:
    """Wait, and after the time limit hold, while a slice of the stack or an announced image is missing."""
    gaps = stack.gaps if stack else ()
    faults = [gap.sentence for gap in gaps[:GAPS_NAMED]]
    if stack and stack.change:
        faults.append(stack.change)
    if len(gaps) > GAPS_NAMED:
        faults.append(f"{sum(gap.missing for gap in gaps[GAPS_NAMED:])} more are missing elsewhere")
    short = [count for count in known if count.found < count.total]
    if not phase.late:
        faults += [f"{count.found} of {count.total} images ({count.source})" for count in short]
        return _wait("; ".join(faults)) if faults else None
    faults += [f"{c.found} of {c.total} images arrived ({c.source} says {c.total})" for c in short]
    if not faults:
        return None
    if gaps:  # a release would not help: the segmenter does not guess what lies in between
        return Decision(JobState.HELD, Reason.GAP, "; ".join([*faults, "send what is missing"]))
    if stack and stack.change:
        return Decision(JobState.HELD, Reason.UNEVEN_STEPS, "; ".join([*faults, "reconstruct it with one distance"]))
    sentence = "; ".join([*faults, "`release` segments what is here"])
    return Decision(JobState.HELD, Reason.INCOMPLETE, sentence)


def _short(stack: Stack | None, phase: Phase, rules: Intake) -> Decision | None:
    """Decline a stack that is too short for a hip, once its sender has gone."""
    if stack is None or (stack.slices >= MIN_SLICES and stack.length >= MIN_LENGTH_MM):
        return None
    if not phase.late and not phase.quiet:
        return _awaiting_quiet(phase, rules)
    if not phase.late and phase.open:
        return _wait("the association is still open")
    sentence = (
        f"{stack.slices} slices over {stack.length:.1f} mm are too few for a hip: {MIN_LENGTH_MM:.0f} mm are needed"
    )
    return Decision(JobState.DECLINED, Reason.TOO_SHORT, sentence)


def _whole(stack: Stack | None, known: Sequence[ExpectedCount], phase: Phase, rules: Intake) -> Decision:
    """Accept a series without a fault as soon as no more slices are to be expected."""
    plausible = stack is None or stack.length >= PLAUSIBLE_MM
    quiet = phase.very_quiet if stack is not None and stack.length < SHORT_MM and not phase.late else phase.quiet
    # When the announced number is reached, no other association need be waited for.
    settled = phase.settled or (phase.gone and any(count.final for count in known))
    if not plausible and (phase.open or phase.broken) and not phase.late:
        assert stack is not None
        return _wait(f"{stack.length:.1f} mm are short for a hip, and its sender has not said that this is all")
    if quiet or (settled and plausible):
        return Decision(JobState.COMPLETE)
    if phase.late:
        sentence = (
            f"slices still arrived {rules.give_up_seconds:g} s after the first; it goes on when none has come for "
            f"{rules.quiet_seconds:g} s, and `release` segments what is here"
        )
        return Decision(JobState.HELD, Reason.STILL_ARRIVING, sentence)
    waits = SHORT_WAITS if stack is not None and stack.length < SHORT_MM else 1
    seconds = max(waits * rules.quiet_seconds, PATIENCE * phase.paused)
    if plausible and phase.paused > GRACE_SECONDS:
        return _wait(
            f"its sender has paused for {phase.paused:.0f} s before, so no slice must come for {seconds:.0f} s"
        )
    if plausible:
        return _wait("its sender may open another association")
    assert stack is not None
    return _wait(f"{stack.length:.1f} mm are short for a hip, so no slice must come for {seconds:g} s")
