"""Evidence for the decision about a series, and what a decision changes."""

import pytest
from ledger_steps import arrival, carry, evidence, only_job, queued_job
from senders import association

from node.errors import NotAllowedError, UnknownJobError
from node.records.instances import Ending
from node.records.jobs import Decision, Evidence, Refusal
from node.records.states import JobState, Reason

S = JobState


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
