"""How records are put into words and colours on the page: pure functions, used as template filters."""

from datetime import UTC, datetime

from node.records.states import DeliveryState, JobState

TONES = {
    JobState.RECEIVED: "wait",
    JobState.COMPLETE: "wait",
    JobState.QUEUED: "wait",
    JobState.RUNNING: "work",
    JobState.DELIVERING: "work",
    JobState.DELIVERED: "good",
    JobState.COMMITTED: "good",
    JobState.HELD: "look",
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
    JobState.COMPLETE: "the series is whole",
    JobState.QUEUED: "waits for a worker",
    JobState.RUNNING: "is being segmented",
    JobState.DELIVERING: "on its way to its destinations",
    JobState.DELIVERED: "its destinations have the result",
    JobState.COMMITTED: "its destinations promised to keep the result",
    JobState.HELD: "a person must look",
    JobState.FAILED: "the node could not do its work",
    JobState.DECLINED: "not for this node",
    JobState.CANCELLED: "stopped, or a later revision took its place",
}


def tone(state: str) -> str:
    """Return the CSS class of a job's or a delivery's state; the word always stands beside the colour."""
    return TONES.get(state, "wait")  # type: ignore[call-overload, no-any-return]


def span(seconds: float) -> str:
    """Return a length of time in its two largest units: `8 s`, `3 min 20 s`, `2 h 5 min`, `4 d 3 h`."""
    whole = max(0, int(seconds))
    for size, unit, smaller, smaller_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {smaller_unit}" if rest else "")
    return f"{whole} s"


def age(moment: datetime, now: datetime) -> str:
    """Return how long ago a moment was."""
    return f"{span((now - moment).total_seconds())} ago"


def clock(moment: datetime) -> str:
    """Return a moment as UTC date and time to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def size(count: int) -> str:
    """Return a number of bytes in a readable unit."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"
