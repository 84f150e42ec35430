"""Received objects and the revisions they open."""

from datetime import timedelta

import pytest
from ledger_steps import arrival, delivering_job, only_job, queued_job, running_job

from node.records.instances import Outcome
from node.records.jobs import Decision
from node.records.states import JobState, Reason

S = JobState


def test_the_first_slice_opens_a_job_and_the_next_joins_it(ledger, clock):
    assert ledger.instances.record(arrival(ledger, 1, series_description="hip 1.0")) is Outcome.NEW
    clock.push(3)
    assert ledger.instances.record(arrival(ledger, 2)) is Outcome.NEW
    job = only_job(ledger)
    assert (job.state, job.instances, job.description, job.calling_ae) == (S.RECEIVED, 2, "hip 1.0", "SCANNER")
    assert job.last_slice_at - job.received_at == timedelta(seconds=3)
    assert ledger.instances.keys_of(job.id) == ["inbox/1.dcm", "inbox/2.dcm"]


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
    assert len(ledger.instances.keys_of(new.id)) == 2
    assert len(ledger.instances.keys_of(old.id)) == 1
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
