"""The states of jobs and deliveries, the reasons the node itself gives, and which transition is allowed."""

from enum import StrEnum


class JobState(StrEnum):
    """The state of one revision of a series."""

    RECEIVED = "received"  # slices are arriving
    COMPLETE = "complete"  # quiet and geometrically whole
    QUEUED = "queued"  # accepted by a route, waiting for a worker
    RUNNING = "running"  # claimed by a worker
    DELIVERING = "delivering"  # the results are stored, some are not yet at their destination
    DELIVERED = "delivered"  # every destination has every result
    COMMITTED = "committed"  # the destinations have committed to keep them (storage commitment)
    DECLINED = "declined"  # not to be segmented
    HELD = "held"  # an operator must decide
    FAILED = "failed"  # the node could not do its work; may be retried
    CANCELLED = "cancelled"  # by an operator, or superseded by a later revision


class DeliveryState(StrEnum):
    """The state of the delivery of one result to one peer."""

    WAITING = "waiting"
    SENDING = "sending"
    DELIVERED = "delivered"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Reason(StrEnum):
    """Why the node declined, held, failed or cancelled; the segmenter adds reasons of its own."""

    NOT_CT = "not-ct"
    LOCALISER = "localiser"
    NOT_A_HIP = "not-a-hip"
    MIXED_PATIENT = "mixed-patient"
    MIXED_STUDY = "mixed-study"
    CORRECTED_PATIENT = "corrected-patient"
    OTHER_SENDER = "other-sender"
    MIXED_ORIENTATION = "mixed-orientation"
    MIXED_GRID = "mixed-grid"
    MIXED_FRAME_OF_REFERENCE = "mixed-frame-of-reference"
    MISSING_GEOMETRY = "missing-geometry"
    GAP = "gap"
    UNEVEN_STEPS = "uneven-steps"
    INCOMPLETE = "incomplete"
    STILL_ARRIVING = "still-arriving"
    TOO_SHORT = "too-short"
    MISSING_FILE = "missing-file"
    NOT_BEST = "not-best"
    NO_ROUTE = "no-route"
    ROUTE_DECLINES = "route-declines"
    ROUTE_HOLDS = "route-holds"
    PERSON_HOLDS = "person-holds"
    PERSON_CANCELS = "person-cancels"
    SUPERSEDED = "superseded"
    REPLACED = "replaced"
    NO_DESTINATION = "no-destination"
    NO_FEMUR = "no-femur"
    WORKER_DIED = "worker-died"
    BROKER_DOWN = "broker-down"
    UNEXPECTED = "unexpected"
    DELIVERY_REFUSED = "delivery-refused"
    DAMAGED_FILE = "damaged-file"
    BROKEN_OBJECT = "broken-object"
    TOO_LARGE = "too-large"
    INVALID_UID = "invalid-uid"
    UID_MISMATCH = "uid-mismatch"
    DIFFERENT_CONTENT = "different-content"
    PROTOCOL_FAULT = "protocol-fault"
    CONTEXT_REJECTED = "context-rejected"
    EMPTY_ASSOCIATION = "empty-association"
    REJECTED_PEER = "rejected-peer"


S = JobState

# Retry leads from failed to queued (segment again) or delivering (send again); from declined and cancelled an
# operator may ask for a new decision, which starts at received. A series that was declined for a better one is complete
# again when that shows no femur. A held job goes back to where it was held.
JOB_TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    S.RECEIVED: frozenset({S.COMPLETE, S.DECLINED, S.HELD, S.CANCELLED}),
    S.COMPLETE: frozenset({S.QUEUED, S.DECLINED, S.HELD, S.CANCELLED}),
    S.QUEUED: frozenset({S.RUNNING, S.DECLINED, S.HELD, S.CANCELLED}),
    S.RUNNING: frozenset({S.QUEUED, S.DELIVERING, S.DELIVERED, S.DECLINED, S.HELD, S.FAILED, S.CANCELLED}),
    S.DELIVERING: frozenset({S.DELIVERED, S.FAILED, S.CANCELLED}),
    S.DELIVERED: frozenset({S.COMMITTED}),
    S.COMMITTED: frozenset(),
    S.DECLINED: frozenset({S.RECEIVED, S.COMPLETE}),
    S.HELD: frozenset({S.RECEIVED, S.COMPLETE, S.QUEUED, S.DECLINED, S.CANCELLED}),
    S.FAILED: frozenset({S.QUEUED, S.DELIVERING, S.CANCELLED}),
    S.CANCELLED: frozenset({S.RECEIVED}),
}

UNFINISHED = frozenset({S.RECEIVED, S.COMPLETE, S.QUEUED, S.RUNNING, S.HELD})
"""States in which a job has no result yet; a later revision of its series supersedes it."""


def may_become(state: JobState, target: JobState) -> bool:
    """Tell whether a job in `state` may go to `target`."""
    return target in JOB_TRANSITIONS[state]
