"""Results of a series that grew: the earlier ones are named to the segmenter, out of date, and not sent any more."""

from dataclasses import replace

import pytest
from ledger_steps import arrival, delivering_job, fail_delivery, finish_job, queued_job, seg

from node.records.jobs import Decision
from node.records.states import DeliveryState, JobState, Reason


def later_job(ledger, number=2) -> str:
    """A slice comes late; return the job of the new revision, running."""
    ledger.instances.record(arrival(ledger, number))
    job_id = ledger.queries.jobs(JobState.RECEIVED)[0].id
    ledger.decisions.apply(job_id, Decision(JobState.COMPLETE))
    ledger.decisions.apply(job_id, Decision(JobState.QUEUED, destinations=("pacs",)))
    assert ledger.queue.claim(job_id, "w", 30)
    return job_id


def finish(ledger, job_id, number):
    made = replace(seg(ledger, f"seg{number}.dcm"), sop_uid=f"2.25.{number}")
    assert finish_job(ledger, job_id, "w", [made], {})


def deliver(ledger):
    [delivery] = ledger.outbox.due(0)
    assert ledger.outbox.claim(delivery, "s", 60)
    assert ledger.outbox.delivered(delivery, "s")


def test_a_delivered_job_is_told_as_out_of_date(ledger):
    first = delivering_job(ledger)
    deliver(ledger)
    second = later_job(ledger)
    assert ledger.queries.job(first).code == "", "so far nothing replaces it"
    finish(ledger, second, 2)
    found = ledger.queries.job(first)
    assert (found.state, found.code) == (JobState.DELIVERED, Reason.REPLACED)
    assert found.reason == f"out of date: the results of job {second}, of 2 images, replace these"
    assert ledger.queries.events(first)[-1].text == found.reason
    assert ledger.queries.job(second).code == ""


@pytest.mark.parametrize("ending", ["waiting", "sending", "failed"])
def test_what_was_not_delivered_is_not_sent_any_more(ledger, ending):
    first = delivering_job(ledger)
    [delivery] = ledger.outbox.due(0)
    if ending == "failed":
        fail_delivery(ledger)
    elif ending == "sending":
        assert ledger.outbox.claim(delivery, "s", 60)
    second = later_job(ledger)
    finish(ledger, second, 2)
    found = ledger.queries.job(first)
    assert (found.state, found.code) == (JobState.CANCELLED, Reason.REPLACED)
    assert found.deliveries[0].state is (DeliveryState.FAILED if ending == "failed" else DeliveryState.CANCELLED)
    assert not ledger.outbox.extend_lease(delivery, "s", 60)
    [due] = ledger.outbox.due(0)
    assert due == ledger.queries.job(second).deliveries[0].id


def test_the_objects_to_be_replaced_are_the_same_at_every_attempt(ledger):
    delivering_job(ledger)
    second = later_job(ledger)
    before = ledger.queries.earlier_results(second)
    assert before == ["results/seg.dcm"], "the picture was for no peer"
    finish(ledger, second, 2)
    assert ledger.queries.earlier_results(second) == before
    third = later_job(ledger, 3)
    assert ledger.queries.earlier_results(third) == ["results/seg.dcm", "results/seg2.dcm"]


def test_a_first_result_replaces_nothing(ledger):
    delivering_job(ledger)
    other = queued_job(ledger, series="1.2.4")
    assert ledger.queries.earlier_results(other) == []


def test_the_time_of_a_later_result_is_its_own(ledger):
    first = delivering_job(ledger)
    second = ledger.queries.job(later_job(ledger))
    assert second.created == ledger.queries.job(first).created
    assert second.completed == second.complete_at.replace(microsecond=0)
