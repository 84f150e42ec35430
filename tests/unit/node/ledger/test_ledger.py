import hashlib
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from senders import association

from node.errors import LedgerError, NotAllowedError, UnknownJobError
from node.ledger import Ledger
from node.ledger.ids import new_job_id
from node.records.instances import Arrival, Ending, Header, Outcome
from node.records.jobs import Decision, Evidence, Job, Refusal
from node.records.results import Result
from node.records.states import DeliveryState, JobState, Reason

S = JobState


class Clock:
    """A clock that stands until it is pushed."""

    def __init__(self):
        self.time = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

    def __call__(self):
        return self.time

    def push(self, seconds):
        self.time += timedelta(seconds=seconds)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def ledger(tmp_path, clock, empty_ledger):
    shutil.copy(empty_ledger, tmp_path)
    opened = Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite3", tmp_path, clock)
    yield opened
    opened.close()


def arrival(ledger, number=1, series="1.2.3", sha256=None, **header):
    values = {"study_uid": "1.2", "series_uid": series, "sop_uid": f"{series}.{number}", "sop_class_uid": "1.9"}
    path = ledger.data / "inbox" / f"{number}.dcm"
    described = Header(**(values | {"modality": "CT", "position": (0.0, 0.0, float(number))} | header))
    return Arrival(
        described, "1.2.840.10008.1.2.1", path, sha256 or f"digest{number}", 100, association(host="10.0.0.7")
    )


def only_job(ledger) -> Job:
    [job] = ledger.queries.jobs()
    return job


def queued_job(ledger, destinations=("pacs",), priority=0, series="1.2.3") -> str:
    ledger.instances.record(arrival(ledger, series=series))
    job_id = ledger.queries.jobs(S.RECEIVED)[0].id
    ledger.decisions.apply(job_id, Decision(S.COMPLETE))
    ledger.decisions.apply(job_id, Decision(S.QUEUED, destinations=destinations, priority=priority))
    return job_id


def running_job(ledger, worker="w", **where) -> str:
    job_id = queued_job(ledger, **where)
    assert ledger.queue.claim(job_id, worker, 30) is not None
    return job_id


def seg(ledger, name="seg.dcm"):
    path = ledger.data / "results" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"a mask")
    digest = hashlib.sha256(b"a mask").hexdigest()
    return Result("seg", path, digest, 6, "1.2.840.10008.5.1.4.1.1.66.4", "2.25.1")


def fail_delivery(ledger) -> None:
    [delivery_id] = ledger.outbox.due(0)
    assert ledger.outbox.claim(delivery_id, "sender", 60)
    assert ledger.outbox.failed(delivery_id, "sender", "refused", next_at=None)


def delivering_job(ledger, destinations=("pacs",)) -> str:
    job_id = running_job(ledger, destinations=destinations)
    picture = Result("overlay", ledger.data / "results/overlay.png", "f00", 5)
    report = {"timings": {"read": 0.5, "segment": 2}}
    assert ledger.queue.finish(job_id, "w", [seg(ledger), picture], report)
    return job_id


# --- arriving


def test_the_first_slice_opens_a_job_and_the_next_joins_it(ledger, clock):
    assert ledger.instances.record(arrival(ledger, 1, series_description="hip 1.0")) is Outcome.NEW
    clock.push(3)
    assert ledger.instances.record(arrival(ledger, 2)) is Outcome.NEW
    job = only_job(ledger)
    assert (job.state, job.instances, job.description, job.calling_ae) == (S.RECEIVED, 2, "hip 1.0", "SCANNER")
    assert job.last_slice_at - job.received_at == timedelta(seconds=3)
    assert ledger.instances.files_of(job.id) == [ledger.data / "inbox/1.dcm", ledger.data / "inbox/2.dcm"]


def test_headers_come_back_as_they_went_in(ledger):
    sent = arrival(ledger, orientation=(1.0, 0, 0, 0, 1, 0), spacing=(0.5, 0.7), image_type=("ORIGINAL",), rows=512)
    ledger.instances.record(sent)
    assert ledger.instances.headers_of(only_job(ledger).id) == [sent.header]


def test_same_bytes_again_are_a_duplicate_and_others_a_conflict(ledger):
    ledger.instances.record(arrival(ledger, 1))
    assert ledger.instances.record(arrival(ledger, 1)) is Outcome.DUPLICATE
    assert ledger.instances.record(arrival(ledger, 1, sha256="other")) is Outcome.VARIANT
    assert only_job(ledger).instances == 1


def test_instances_that_come_again_in_another_series_are_new_there(ledger):
    ledger.instances.record(arrival(ledger, 1))
    moved = arrival(ledger, 9, series="1.2.4", sop_uid="1.2.3.1")
    assert ledger.instances.record(moved) is Outcome.NEW
    assert ledger.instances.record(moved) is Outcome.DUPLICATE
    assert [job.instances for job in ledger.queries.jobs()] == [1, 1]


@pytest.mark.parametrize("state", [S.COMPLETE, S.QUEUED, S.RUNNING, S.HELD])
def test_a_late_slice_supersedes_what_has_no_result_yet(ledger, state):
    job_id = running_job(ledger) if state is S.RUNNING else queued_job(ledger) if state is S.QUEUED else None
    if job_id is None:
        ledger.instances.record(arrival(ledger))
        job_id = only_job(ledger).id
        ledger.decisions.apply(job_id, Decision(state, Reason.GAP if state is S.HELD else "", "a slice is missing"))
    ledger.instances.record(arrival(ledger, 2))
    old, new = sorted(ledger.queries.jobs(), key=lambda job: job.revision)
    assert (old.id, old.state, old.code) == (job_id, S.CANCELLED, Reason.SUPERSEDED)
    assert (new.state, new.revision, new.instances) == (S.RECEIVED, 2, 2)
    assert len(ledger.instances.files_of(new.id)) == 2
    assert len(ledger.instances.files_of(old.id)) == 1
    assert not ledger.queue.extend_lease(job_id, "w", 30, "read"), "the worker of a superseded job must stop"


def test_a_late_slice_leaves_finished_results_alone(ledger):
    job_id = delivering_job(ledger)
    ledger.instances.record(arrival(ledger, 2))
    assert ledger.queries.job(job_id).state is S.DELIVERING
    assert ledger.queries.jobs(S.RECEIVED)[0].revision == 2


def test_a_late_slice_joins_a_job_a_person_holds(ledger):
    ledger.instances.record(arrival(ledger, 1))
    ledger.operator.hold(only_job(ledger).id, "tester")
    ledger.instances.record(arrival(ledger, 2))
    assert (only_job(ledger).state, only_job(ledger).instances) == (S.HELD, 2)


def test_a_series_a_person_cancelled_stays_so_while_slices_arrive_until_it_is_retried(ledger):
    ledger.instances.record(arrival(ledger, 1))
    job_id = only_job(ledger).id
    ledger.operator.cancel(job_id, "tester")
    ledger.instances.record(arrival(ledger, 2))
    job = only_job(ledger)
    assert (job.id, job.state, job.code, job.instances) == (job_id, S.CANCELLED, Reason.PERSON_CANCELS, 2)
    assert ledger.operator.retry(job_id, "tester") is S.RECEIVED
    ledger.instances.record(arrival(ledger, 3))
    assert (only_job(ledger).state, only_job(ledger).instances) == (S.RECEIVED, 3)
    assert len(ledger.instances.headers_of(job_id)) == 3


def test_refusals_are_declined_rows_without_a_series(ledger, clock):
    refusal = Refusal("CHECKER", "10.0.0.9", Reason.EMPTY_ASSOCIATION, "the association carried nothing")
    first = ledger.decisions.record_refusal(refusal)
    clock.push(60)
    assert ledger.decisions.record_refusal(refusal) == first
    job = only_job(ledger)
    assert (job.state, job.series_uid, job.instances, job.code) == (S.DECLINED, None, 2, Reason.EMPTY_ASSOCIATION)
    clock.push(3700)
    assert ledger.decisions.record_refusal(refusal) != first, "an hour of silence ends the row"
    with pytest.raises(NotAllowedError, match="no series"):
        ledger.operator.retry(first, "tester")


# --- deciding


def carry(ledger, link, number, series="1.2.3"):
    ledger.instances.record(replace(arrival(ledger, number, series), association=link))


def evidence(ledger, series="1.2.3") -> Evidence:
    [found] = [job.evidence for job in ledger.decisions.receiving() if job.series_uid == series]
    return found


def test_evidence_tells_the_times_and_whether_the_sender_is_still_there(ledger, clock):
    assert ledger.decisions.receiving() == []
    link = association()
    carry(ledger, link, 1)
    clock.push(4)
    carry(ledger, link, 2)
    clock.push(3)
    [job] = ledger.decisions.receiving()
    assert (job.study_uid, job.series_uid, job.instances, job.state) == ("1.2", "1.2.3", 2, S.RECEIVED)
    assert job.evidence == Evidence(quiet=3, waited=7, open=1)
    ledger.associations.end(link.id, Ending.RELEASED)
    clock.push(2)
    assert evidence(ledger) == Evidence(quiet=5, waited=9, ended=2)


@pytest.mark.parametrize(("ending", "broken"), [(Ending.RELEASED, False), (Ending.ABORTED, True), (Ending.LOST, True)])
def test_evidence_of_several_associations(ledger, clock, ending, broken):
    first, second, third = association(), association(), association("OTHER")
    for number, link in enumerate((first, second, third), 1):
        carry(ledger, link, number)
    assert evidence(ledger).open == 3
    ledger.associations.end(first.id, ending)
    clock.push(5)
    ledger.associations.end(second.id, Ending.RELEASED)
    clock.push(1)
    found = evidence(ledger)
    assert (found.open, found.sender_open, found.ended, found.broken) == (1, 0, 1, broken)


def test_evidence_counts_other_associations_of_the_same_sender(ledger):
    own, more, elsewhere = association(), association(), association(host="10.9.9.9")
    carry(ledger, own, 1)
    carry(ledger, own, 1, "1.2.4")
    ledger.associations.end(own.id, Ending.RELEASED)
    for number, link in enumerate((more, elsewhere, association("OTHER"))):
        carry(ledger, link, number, f"1.2.5{number}")
    assert (evidence(ledger).open, evidence(ledger).sender_open) == (0, 1)
    assert evidence(ledger, "1.2.50").sender_open == 0
    ledger.associations.end(more.id, Ending.RELEASED)
    assert evidence(ledger).sender_open == 0


def test_evidence_leaves_out_what_ended_before_the_revision_began(ledger, clock):
    link = association()
    carry(ledger, link, 1)
    ledger.associations.end(link.id, Ending.ABORTED)
    ledger.decisions.apply(only_job(ledger).id, Decision(S.DECLINED, Reason.TOO_SHORT, "too short"))
    clock.push(60)
    again = association()
    carry(ledger, again, 2)
    assert evidence(ledger) == Evidence(quiet=0, waited=0, open=1)


def test_an_association_of_a_dead_receiver_has_broken_off(ledger, clock):
    carry(ledger, association(receiver="scp@here:1"), 1)
    carry(ledger, association(receiver="scp@here:2"), 2, "1.2.4")
    assert ledger.associations.end_lost(["scp@here:2"]) == 1
    assert (evidence(ledger).open, evidence(ledger).broken) == (0, True)
    assert (evidence(ledger, "1.2.4").open, evidence(ledger, "1.2.4").broken) == (1, False)


def test_what_a_peer_says_is_noted_with_its_name(ledger):
    ledger.instances.record(arrival(ledger))
    ledger.decisions.note_expected(only_job(ledger).id, 300)
    [job] = ledger.decisions.receiving("pacs")
    assert (job.evidence.expected, job.evidence.expected_from, only_job(ledger).expected) == (300, "pacs", 300)


def test_what_a_job_waits_for_is_shown_and_kept_out_of_its_history(ledger):
    ledger.instances.record(arrival(ledger))
    job_id = only_job(ledger).id
    [job] = ledger.decisions.receiving()
    assert ledger.decisions.apply(job_id, Decision(S.RECEIVED, reason="waiting: a"), job)
    assert ledger.decisions.apply(job_id, Decision(S.RECEIVED, reason="waiting: b"), job)
    [job] = ledger.decisions.receiving()
    assert not ledger.decisions.apply(job_id, Decision(S.RECEIVED, reason="waiting: b"), job)
    assert (only_job(ledger).reason, only_job(ledger).state) == ("waiting: b", S.RECEIVED)
    assert len(ledger.queries.events(job_id)) == 1
    assert ledger.decisions.apply(job_id, Decision(S.COMPLETE), job)
    assert only_job(ledger).reason == ""
    assert not ledger.decisions.apply(job_id, Decision(S.RECEIVED, reason="waiting: c"), job)


def test_a_decision_on_stale_slices_changes_nothing(ledger):
    ledger.instances.record(arrival(ledger, 1))
    judged = only_job(ledger)
    ledger.instances.record(arrival(ledger, 2))
    assert not ledger.decisions.apply(judged.id, Decision(S.COMPLETE), judged)
    assert ledger.queries.job(judged.id).state is S.RECEIVED
    assert ledger.decisions.apply(judged.id, Decision(S.COMPLETE), only_job(ledger))


def test_a_decision_does_not_undo_a_persons_hold(ledger):
    ledger.instances.record(arrival(ledger))
    job_id = only_job(ledger).id
    ledger.decisions.apply(job_id, Decision(S.COMPLETE))
    judged = only_job(ledger)
    ledger.operator.hold(job_id, "tester")
    assert not ledger.decisions.apply(job_id, Decision(S.QUEUED, destinations=("pacs",)), judged)
    assert (only_job(ledger).state, only_job(ledger).code) == (S.HELD, Reason.PERSON_HOLDS)


def test_a_second_supervisors_late_decision_does_not_take_a_job_from_its_worker(ledger):
    ledger.instances.record(arrival(ledger))
    job_id = only_job(ledger).id
    ledger.decisions.apply(job_id, Decision(S.COMPLETE))
    judged = only_job(ledger)
    routed = Decision(S.QUEUED, destinations=("pacs",))
    assert ledger.decisions.apply(job_id, routed, judged)
    assert ledger.queue.claim(job_id, "w", 30)
    assert not ledger.decisions.apply(job_id, routed, judged)
    assert ledger.queue.extend_lease(job_id, "w", 30, "segment")


def test_what_the_table_forbids_is_refused(ledger):
    ledger.instances.record(arrival(ledger))
    job_id = only_job(ledger).id
    with pytest.raises(NotAllowedError, match="received; it cannot become running"):
        ledger.decisions.apply(job_id, Decision(S.RUNNING))
    with pytest.raises(UnknownJobError, match="no job nobody"):
        ledger.decisions.apply("nobody", Decision(S.COMPLETE))


def test_the_time_in_the_objects_stays_when_a_job_is_decided_again(ledger, clock):
    ledger.instances.record(arrival(ledger))
    job_id = only_job(ledger).id
    ledger.decisions.apply(job_id, Decision(S.DECLINED, Reason.NO_ROUTE, "no route matches"))
    created = ledger.queries.job(job_id).created
    clock.push(100)
    assert ledger.operator.retry(job_id, "tester") is S.RECEIVED
    ledger.decisions.apply(job_id, Decision(S.COMPLETE))
    assert ledger.queries.job(job_id).created == created


def test_the_time_in_the_objects_is_that_of_the_first_complete_revision(ledger, clock):
    job_id = queued_job(ledger)
    created = ledger.queries.job(job_id).created
    for number, passed in ((2, 100), (3, -5000)):  # a clock may be set back, too
        clock.push(passed)
        ledger.instances.record(arrival(ledger, number))
        [later] = ledger.queries.jobs(S.RECEIVED)
        assert later.created == created
        ledger.decisions.apply(later.id, Decision(S.COMPLETE))
        again = ledger.queries.job(later.id)
        assert (again.created, again.complete_at) == (created, clock())
    assert ledger.queries.job(job_id).created == created
    assert queued_job(ledger, series="1.2.9") and ledger.queries.jobs(S.QUEUED)[0].created == clock()


# --- running


def test_the_urgent_go_first_and_the_announced_wait(ledger, clock):
    late = queued_job(ledger, series="1.1")
    clock.push(1)
    urgent = queued_job(ledger, series="1.5", priority=5)
    assert ledger.queue.due(15) == [urgent, late]
    assert ledger.queue.most_urgent() == urgent
    ledger.queue.mark_dispatched(urgent)
    assert ledger.queue.due(15) == [late]
    clock.push(15)
    assert ledger.queue.due(15) == [urgent, late]


def test_only_one_worker_claims_a_job(ledger):
    job_id = queued_job(ledger)
    claimed = ledger.queue.claim(job_id, "one", 30)
    assert claimed is not None and (claimed.attempts, claimed.worker, claimed.state) == (1, "one", S.RUNNING)
    assert ledger.queue.claim(job_id, "two", 30) is None
    assert ledger.queue.most_urgent() is None
    assert ledger.queue.extend_lease(job_id, "one", 30, "segment")
    assert not ledger.queue.extend_lease(job_id, "two", 30, "segment")
    assert ledger.queries.job(job_id).stage == "segment"


def test_results_deliveries_and_state_arrive_together(ledger):
    job = ledger.queries.job(delivering_job(ledger, ("pacs", "archive")))
    assert job.state is S.DELIVERING
    assert [r.kind for r in job.results] == ["seg", "overlay"]
    assert [(d.peer, d.result.kind) for d in job.deliveries] == [("pacs", "seg"), ("archive", "seg")]
    assert job.stage_seconds == {"read": 0.5, "segment": 2.0}
    row = job.to_dict()
    assert row["outputs"] == [str(ledger.data / "results/seg.dcm"), str(ledger.data / "results/overlay.png")]
    assert row["received_at"] == "2026-03-01T12:00:00.000Z"


def test_without_a_destination_the_results_stay_and_the_reason_says_so(ledger):
    job = ledger.queries.job(delivering_job(ledger, ()))
    assert (job.state, job.code) == (S.DELIVERED, Reason.NO_DESTINATION)
    assert "no destination" in job.reason
    assert job.finished_at is not None


def test_results_that_no_destination_wants_stay_and_the_reason_says_so(ledger):
    job_id = running_job(ledger)
    assert ledger.queue.finish(job_id, "w", [seg(ledger)], {}, {"pacs": {"sr"}})
    job = ledger.queries.job(job_id)
    assert (job.state, job.code, job.deliveries) == (S.DELIVERED, Reason.NO_DESTINATION, ())
    assert job.reason == "no destination wants them: the results stay here"


@pytest.mark.parametrize("peers", [(), ("pacs",)])
def test_that_nothing_was_found_stays_with_the_job(ledger, peers):
    job_id = running_job(ledger, destinations=peers)
    report = {"finding": "there is no proximal femur in the scan"}
    assert ledger.queue.finish(
        job_id, "w", [Result("sr", ledger.data / "results/sr.dcm", "0a", 9, "1.2", "1.2.3")], report
    )
    for delivery in ledger.queries.job(job_id).deliveries:
        ledger.outbox.claim(delivery.id, "me", 30)
        assert ledger.outbox.delivered(delivery.id, "me")
    job = ledger.queries.job(job_id)
    assert (job.state, job.code) == (S.DELIVERED, Reason.NO_FEMUR if peers else Reason.NO_DESTINATION)
    assert job.reason.startswith("there is no proximal femur in the scan")
    assert ("no destination" in job.reason) == (not peers)


def test_a_worker_that_lost_its_claim_records_nothing(ledger):
    job_id = running_job(ledger)
    ledger.operator.cancel(job_id, "tester")
    assert not ledger.queue.finish(job_id, "w", [seg(ledger)], {})
    assert not ledger.queue.stop(job_id, "w", Decision(S.FAILED, "x", "x"))
    assert not ledger.queue.give_back(job_id, "w")
    assert ledger.queries.job(job_id).results == ()


@pytest.mark.parametrize("state", [S.DECLINED, S.HELD, S.FAILED, S.QUEUED])
def test_stopping_says_why(ledger, state):
    job_id = running_job(ledger)
    assert ledger.queue.stop(job_id, "w", Decision(state, "too-short", "the scan is too short"))
    job = ledger.queries.job(job_id)
    assert (job.state, job.code, job.reason, job.worker) == (state, "too-short", "the scan is too short", "")
    assert (job.finished_at is not None) == (state in {S.DECLINED, S.FAILED})


def test_a_job_given_back_does_not_lose_an_attempt(ledger):
    job_id = running_job(ledger)
    assert ledger.queue.give_back(job_id, "w")
    job = ledger.queries.job(job_id)
    assert (job.state, job.attempts) == (S.QUEUED, 0)
    assert ledger.queue.due(15) == [job_id]


def test_a_job_whose_worker_dies_three_times_fails(ledger, clock):
    job_id = queued_job(ledger)
    for attempt in (1, 2, 3):
        assert ledger.queue.claim(job_id, f"w{attempt}", 30) is not None
        ledger.queue.extend_lease(job_id, f"w{attempt}", 30, "segment")
        clock.push(29)
        assert ledger.queue.reap_expired(3) == []
        clock.push(2)
        assert ledger.queue.reap_expired(3) == [job_id]
    job = ledger.queries.job(job_id)
    assert (job.state, job.code) == (S.FAILED, Reason.WORKER_DIED)
    assert job.reason == "its worker died 3 times, last in stage segment"
    assert ledger.operator.retry(job_id, "tester") is S.QUEUED
    assert ledger.queries.job(job_id).attempts == 0


# --- delivering


def test_a_job_is_delivered_when_the_last_peer_has_it(ledger):
    job_id = delivering_job(ledger, ("pacs", "archive"))
    for delivery_id in ledger.outbox.due(15):
        assert ledger.queries.job(job_id).state is S.DELIVERING
        claimed = ledger.outbox.claim(delivery_id, "sender", 60)
        assert claimed is not None and claimed.result.path == ledger.data / "results/seg.dcm"
        assert ledger.outbox.claim(delivery_id, "other", 60) is None
        assert ledger.outbox.delivered(delivery_id, "sender")
    assert ledger.queries.job(job_id).state is S.DELIVERED
    assert ledger.outbox.due(0) == []


def test_an_absent_peer_is_tried_again_later(ledger, clock):
    job_id = delivering_job(ledger)
    [delivery_id] = ledger.outbox.due(15)
    ledger.outbox.claim(delivery_id, "sender", 60)
    assert ledger.outbox.failed(delivery_id, "sender", "connection refused", next_at=clock() + timedelta(seconds=5))
    job = ledger.queries.job(job_id)
    assert (job.state, job.reason) == (S.DELIVERING, "pacs: connection refused")
    assert ledger.outbox.due(15) == []
    assert ledger.outbox.claim(delivery_id, "sender", 60) is None
    clock.push(5)
    assert ledger.outbox.due(15) == [delivery_id]
    ledger.outbox.claim(delivery_id, "sender", 60)
    ledger.outbox.delivered(delivery_id, "sender")
    assert (ledger.queries.job(job_id).state, ledger.queries.job(job_id).reason) == (S.DELIVERED, "")


def test_a_refusal_fails_the_job_and_retry_opens_only_that_delivery(ledger):
    job_id = delivering_job(ledger, ("pacs", "archive"))
    refused, taken = ledger.outbox.due(15)
    ledger.outbox.claim(refused, "sender", 60)
    assert ledger.outbox.failed(refused, "sender", "it does not know our AE title", next_at=None)
    assert ledger.queries.job(job_id).reason == "pacs: it does not know our AE title"
    ledger.outbox.claim(taken, "sender", 60)
    assert ledger.outbox.delivered(taken, "sender"), "the other peer still gets its result"
    assert ledger.queries.job(job_id).state is S.FAILED
    assert ledger.operator.retry(job_id, "tester") is S.DELIVERING
    assert ledger.outbox.due(15) == [refused]


def test_a_delivery_whose_sender_died_is_due_again(ledger, clock):
    delivering_job(ledger)
    [delivery_id] = ledger.outbox.due(15)
    ledger.outbox.mark_dispatched(delivery_id)
    ledger.outbox.claim(delivery_id, "dead", 60)
    clock.push(40)
    assert ledger.outbox.extend_lease(delivery_id, "dead", 60)
    clock.push(59)
    assert ledger.outbox.due(15) == []
    clock.push(2)
    assert ledger.outbox.due(15) == [delivery_id]
    assert ledger.outbox.claim(delivery_id, "alive", 60) is not None
    assert not ledger.outbox.delivered(delivery_id, "dead")


# --- the desk


@pytest.mark.parametrize("state", [S.RECEIVED, S.QUEUED, S.RUNNING])
def test_a_person_holds_and_releases(ledger, state):
    if state is S.RECEIVED:
        ledger.instances.record(arrival(ledger))
        job_id = only_job(ledger).id
    else:
        job_id = running_job(ledger) if state is S.RUNNING else queued_job(ledger)
    ledger.operator.hold(job_id, "tester")
    assert ledger.queries.job(job_id).code == Reason.PERSON_HOLDS
    assert not ledger.queue.extend_lease(job_id, "w", 30, "read")
    assert ledger.operator.release(job_id, "tester") is (S.QUEUED if state is S.RUNNING else state)
    assert not ledger.queries.job(job_id).forced, "the person only took back the hold"
    if state is not S.RECEIVED:
        with pytest.raises(NotAllowedError, match="only a held or receiving job"):
            ledger.operator.release(job_id, "tester")


@pytest.mark.parametrize(
    ("state", "destinations", "expected", "forced"),
    [
        (S.RECEIVED, None, S.RECEIVED, True),
        (S.COMPLETE, None, S.COMPLETE, True),
        (S.COMPLETE, ("pacs",), S.QUEUED, False),
    ],
)
def test_release_goes_on_where_the_node_held_and_overrides_it(ledger, state, destinations, expected, forced):
    ledger.instances.record(arrival(ledger))
    job_id = only_job(ledger).id
    if state is S.COMPLETE:
        ledger.decisions.apply(job_id, Decision(S.COMPLETE))
    ledger.decisions.apply(job_id, Decision(S.HELD, Reason.GAP, "a slice is missing", destinations))
    assert ledger.operator.release(job_id, "tester") is expected
    assert (ledger.queries.job(job_id).forced, ledger.queries.job(job_id).reason) == (forced, "")


def test_release_of_a_receiving_job_lets_it_start_with_what_is_here(ledger):
    ledger.instances.record(arrival(ledger))
    job_id = only_job(ledger).id
    assert ledger.operator.release(job_id, "tester") is S.RECEIVED
    assert evidence(ledger).forced
    assert ledger.queries.events(job_id)[-1].text == "released by tester with the slices that are here"
    ledger.instances.record(arrival(ledger, 2))
    assert (only_job(ledger).forced, only_job(ledger).instances) == (True, 2)


def test_the_history_says_who_did_what_to_a_job(ledger):
    ledger.instances.record(arrival(ledger))
    job_id = only_job(ledger).id
    ledger.operator.hold(job_id, "anna")
    assert ledger.queries.job(job_id).reason == "a person holds it; `release` lets it go on"
    ledger.operator.release(job_id, "ben")
    ledger.operator.cancel(job_id, "carla")
    ledger.operator.retry(job_id, "dora")
    history = [(event.state, event.text) for event in ledger.queries.events(job_id)[1:]]
    assert history == [
        ("held", "held by anna"),
        ("received", "released by ben"),
        ("cancelled", "cancelled by carla"),
        ("received", "retried by dora"),
    ]


def test_a_later_revision_of_what_a_person_released_is_judged_again(ledger):
    ledger.instances.record(arrival(ledger))
    ledger.operator.release(only_job(ledger).id, "tester")
    ledger.decisions.apply(only_job(ledger).id, Decision(S.COMPLETE))
    ledger.instances.record(arrival(ledger, 2))
    assert not ledger.queries.jobs(S.RECEIVED)[0].forced


@pytest.mark.parametrize("declined", [True, False])
def test_retry_of_a_declined_job_is_a_persons_word_and_of_a_cancelled_one_is_not(ledger, declined):
    ledger.instances.record(arrival(ledger))
    job_id = only_job(ledger).id
    if declined:
        ledger.decisions.apply(job_id, Decision(S.DECLINED, Reason.NO_ROUTE, "no route matches"))
    else:
        ledger.operator.cancel(job_id, "tester")
    assert ledger.operator.retry(job_id, "tester") is S.RECEIVED
    assert evidence(ledger).forced is declined


def test_cancelling_stops_the_deliveries_too(ledger):
    job_id = delivering_job(ledger)
    ledger.operator.cancel(job_id, "tester")
    assert ledger.outbox.due(0) == []
    assert ledger.queries.job(job_id).deliveries[0].state is DeliveryState.CANCELLED
    assert ledger.operator.retry(job_id, "tester") is S.RECEIVED


def test_a_job_run_again_shows_its_results_once(ledger):
    job_id = delivering_job(ledger)
    ledger.operator.cancel(job_id, "tester")
    ledger.operator.retry(job_id, "tester")
    ledger.decisions.apply(job_id, Decision(S.COMPLETE))
    ledger.decisions.apply(job_id, Decision(S.QUEUED, destinations=("pacs",)))
    ledger.queue.claim(job_id, "w", 30)
    ledger.queue.finish(job_id, "w", [seg(ledger)], {})
    job = ledger.queries.job(job_id)
    assert (len(job.results), len(job.deliveries)) == (1, 1)


def test_a_superseded_job_is_not_retried(ledger):
    job_id = queued_job(ledger)
    ledger.instances.record(arrival(ledger, 2))
    newer = ledger.queries.jobs(S.RECEIVED)[0].id
    with pytest.raises(NotAllowedError, match=newer):
        ledger.operator.retry(job_id, "tester")


@pytest.mark.parametrize("where", ["segmenting", "delivering"])
def test_a_failed_job_with_a_later_revision_is_not_retried(ledger, where):
    if where == "segmenting":
        job_id = running_job(ledger)
        ledger.queue.stop(job_id, "w", Decision(S.FAILED, Reason.UNEXPECTED, "broken"))
    else:
        job_id = delivering_job(ledger)
        fail_delivery(ledger)
    ledger.instances.record(arrival(ledger, 2))
    newer = ledger.queries.jobs(S.RECEIVED)[0].id
    with pytest.raises(NotAllowedError, match=newer):
        ledger.operator.retry(job_id, "tester")
    assert ledger.queries.job(job_id).state is S.FAILED


def test_a_job_whose_result_is_lost_or_changed_is_segmented_again(ledger):
    job_id = delivering_job(ledger)
    for spoil in (Path.unlink, lambda path: path.write_bytes(b"changed")):
        fail_delivery(ledger)
        spoil(ledger.queries.job(job_id).results[0].path)
        assert ledger.operator.retry(job_id, "tester") is S.QUEUED
        assert ledger.outbox.due(0) == []
        assert ledger.queue.claim(job_id, "w", 30)
        assert ledger.queue.finish(job_id, "w", [seg(ledger)], {})
    fail_delivery(ledger)
    assert ledger.operator.retry(job_id, "tester") is S.DELIVERING


def test_what_has_not_failed_is_not_retried(ledger):
    with pytest.raises(NotAllowedError, match="is queued"):
        ledger.operator.retry(queued_job(ledger), "tester")
    with pytest.raises(UnknownJobError):
        ledger.operator.retry("nobody", "tester")


# --- looking


def test_history_counts_and_search(ledger):
    job_id = delivering_job(ledger)
    assert [event.state for event in ledger.queries.events(job_id)] == [
        "received", "complete", "queued", "running", "delivering",
    ]  # fmt: skip
    assert ledger.queries.counts()[S.DELIVERING] == 1
    assert ledger.queries.counts()[S.HELD] == 0
    assert [job.id for job in ledger.queries.jobs(search="1.2.3")] == [job_id]
    assert ledger.queries.jobs(search="1.2.3%") == []
    assert ledger.queries.jobs(S.HELD) == []
    with pytest.raises(UnknownJobError):
        ledger.queries.events("nobody")


def test_processes_report_themselves(ledger, clock):
    ledger.processes.report("scp@here:1", "scp", "here", 1)
    clock.push(5)
    ledger.processes.report("scp@here:1", "scp", "here", 1)
    [process] = ledger.processes.all()
    assert process.last_seen - process.started_at == timedelta(seconds=5)
    ledger.processes.remove("scp@here:1")
    assert ledger.processes.all() == []


def test_ids_sort_by_time_and_are_safe_in_paths():
    start = datetime(2026, 1, 1, tzinfo=UTC)
    ids = [new_job_id(start + timedelta(milliseconds=n)) for n in (0, 1, 40, 5000, 10**10)]
    assert ids == sorted(ids)
    assert all(len(i) == 14 and i.isalnum() and i == i.lower() for i in ids)


# --- the database


def test_the_ledger_survives_being_moved(ledger, tmp_path, tmp_path_factory):
    ledger.instances.record(arrival(ledger))
    ledger.close()
    moved = tmp_path.rename(tmp_path_factory.mktemp("new") / "place")
    again = Ledger.open(f"sqlite:///{moved}/ledger.sqlite3", moved)
    assert again.instances.files_of(only_job(again).id) == [moved / "inbox/1.dcm"]
    again.close()
    moved.rename(tmp_path)


def test_the_migrations_make_exactly_the_tables(ledger):
    from alembic.autogenerate import compare_metadata
    from alembic.config import Config
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from sqlalchemy import create_engine

    from node.ledger.tables import HEAD, metadata

    config = Config()
    config.set_main_option("script_location", "node.ledger:migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD
    with create_engine(f"sqlite:///{ledger.data}/ledger.sqlite3").connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


def test_a_ledger_of_the_first_layout_is_brought_up_to_date(ledger, clock):
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine

    first = queued_job(ledger)
    created = ledger.queries.job(first).created
    clock.push(100)
    ledger.instances.record(arrival(ledger, 2))
    later = ledger.queries.jobs(S.RECEIVED)[0].id
    ledger.decisions.apply(later, Decision(S.COMPLETE))
    config = Config()
    config.set_main_option("script_location", "node.ledger:migrations")
    with create_engine(f"sqlite:///{ledger.data}/ledger.sqlite3").begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
    again = Ledger.open(f"sqlite:///{ledger.data}/ledger.sqlite3", ledger.data)
    assert [again.queries.job(job_id).created for job_id in (first, later)] == [created, created]
    assert again.instances.files_of(later) == ledger.instances.files_of(later)
    again.close()


def test_a_ledger_of_a_newer_version_is_refused(ledger):
    import sqlite3

    with sqlite3.connect(ledger.data / "ledger.sqlite3") as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(LedgerError, match="newer"):
        Ledger.open(f"sqlite:///{ledger.data}/ledger.sqlite3", ledger.data)


def test_an_unreachable_database_is_one_sentence_without_the_password(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match="cannot be opened"):
        Ledger.open(f"sqlite:///{tmp_path}/file/ledger.sqlite3", tmp_path)
    with pytest.raises(LedgerError) as failure:
        Ledger.open("nonsense+db://user:secret@host/x", tmp_path)
    assert "secret" not in str(failure.value)


OPENER = """
import sys
from pathlib import Path
from node.ledger import Ledger
data = Path(sys.argv[1])
ledger = Ledger.open(f"sqlite:///{data}/ledger.sqlite3", data)
for n in range(20):
    ledger.processes.report(f"{sys.argv[2]}", "test", "here", n)
"""


def test_several_processes_open_and_write_a_new_ledger_at_once(tmp_path):
    command = [sys.executable, "-c", OPENER, str(tmp_path)]
    started = [
        subprocess.Popen([*command, str(n)], stderr=subprocess.PIPE, cwd=Path(__file__).parents[4]) for n in range(4)
    ]
    for process in started:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors.decode()
    ledger = Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite3", tmp_path)
    assert [p.pid for p in ledger.processes.all()] == [19] * 4


def test_many_threads_record_at_once(ledger):
    from concurrent.futures import ThreadPoolExecutor

    def record(number):
        return ledger.instances.record(arrival(ledger, number % 100, series=f"1.2.{number % 4}"))

    with ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(record, range(200)))
    assert outcomes.count(Outcome.NEW) == 100
    assert outcomes.count(Outcome.DUPLICATE) == 100
    assert sum(job.instances for job in ledger.queries.jobs()) == 100
    assert len(ledger.queries.jobs()) == 4
