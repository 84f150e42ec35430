"""Template filters: pure functions that format states, times and sizes for the page."""

from datetime import UTC, datetime

from node.records.states import DeliveryState, JobState

STATE_CLASSES = {
    JobState.RECEIVED: "wait",
    JobState.COMPLETE: "wait",
    JobState.QUEUED: "wait",
    JobState.RUNNING: "work",
    JobState.DELIVERING: "work",
    JobState.DELIVERED: "good",
    JobState.COMMITTED: "good",
    JobState.HELD: "warn",
    JobState.FAILED: "bad",
    JobState.DECLINED: "wait",
    JobState.CANCELLED: "wait",
    DeliveryState.WAITING: "wait",
    DeliveryState.SENDING: "work",
    DeliveryState.DELIVERED: "good",
    DeliveryState.FAILED: "bad",
    DeliveryState.CANCELLED: "wait",
}

MEANINGS = {
    JobState.RECEIVED: "slices are arriving",
    JobState.COMPLETE: "all slices have arrived",
    JobState.QUEUED: "waiting for a worker",
    JobState.RUNNING: "being segmented",
    JobState.DELIVERING: "the results are being sent",
    JobState.DELIVERED: "finished and sent to all destinations",
    JobState.COMMITTED: "all destinations have committed to storing the results",
    JobState.HELD: "waiting for a decision by a person",
    JobState.FAILED: "the segmentation or a delivery failed",
    JobState.DECLINED: "not processed, for the reason given",
    JobState.CANCELLED: "stopped by a person or replaced by a later revision",
}


def state_class(state: str) -> str:
    """Return the CSS class of the state of a job or a delivery."""
    return STATE_CLASSES.get(state, "wait")  # type: ignore[call-overload, no-any-return]


def duration(seconds: float) -> str:
    """Return a duration in its two largest units: `8 s`, `3 min 20 s`, `2 h 5 min`, `4 d 3 h`."""
    whole = max(0, int(seconds))
    for size, unit, smaller, smaller_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {smaller_unit}" if rest else "")
    return f"{whole} s"


def age(moment: datetime, now: datetime) -> str:
    """Return the time since `moment`."""
    return f"{duration((now - moment).total_seconds())} ago"


def clock(moment: datetime) -> str:
    """Return the UTC date and time to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def size(count: int) -> str:
    """Return a number of bytes in B, kB, MB or GB."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"
