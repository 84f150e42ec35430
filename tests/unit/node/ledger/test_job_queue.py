"""Claims of workers, their results, and jobs whose worker died."""

import pytest
from ledger_steps import delivering_job, finish_job, queued_job, running_job, seg

from node.records.jobs import Decision
from node.records.results import Result
from node.records.states import JobState, Reason

S = JobState


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
    row = job.to_dict(ledger.data)
    assert row["outputs"] == [str(ledger.data / "results/seg.dcm"), str(ledger.data / "results/overlay.png")]
    assert list(row["results"][0]) == ["kind", "path", "sha256", "size", "sop_class_uid", "sop_uid"]
    assert [result["path"] for result in row["results"]] == row["outputs"]
    assert row["received_at"] == "2026-03-01T12:00:00.000Z"


def test_without_a_destination_the_results_stay_and_the_reason_says_so(ledger):
    job = ledger.queries.job(delivering_job(ledger, ()))
    assert (job.state, job.code) == (S.DELIVERED, Reason.NO_DESTINATION)
    assert "no destination" in job.reason
    assert job.finished_at is not None


def test_results_that_no_destination_wants_stay_and_the_reason_says_so(ledger):
    job_id = running_job(ledger)
    assert finish_job(ledger, job_id, "w", [seg(ledger)], {}, {"pacs": {"sr"}})
    job = ledger.queries.job(job_id)
    assert (job.state, job.code, job.deliveries) == (S.DELIVERED, Reason.NO_DESTINATION, ())
    assert job.reason == "no destination wants them: the results stay here"


@pytest.mark.parametrize("peers", [(), ("pacs",)])
def test_that_nothing_was_found_stays_with_the_job(ledger, peers):
    job_id = running_job(ledger, destinations=peers)
    report = {"finding": "there is no proximal femur in the scan"}
    assert finish_job(ledger, job_id, "w", [Result("sr", "results/sr.dcm", "0a", 9, "1.2", "1.2.3")], report)
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
    assert not finish_job(ledger, job_id, "w", [seg(ledger)], {})
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


def test_a_job_run_again_shows_its_results_once(ledger):
    job_id = delivering_job(ledger)
    ledger.operator.cancel(job_id, "tester")
    ledger.operator.retry(job_id, "tester")
    ledger.decisions.apply(job_id, Decision(S.COMPLETE))
    ledger.decisions.apply(job_id, Decision(S.QUEUED, destinations=("pacs",)))
    ledger.queue.claim(job_id, "w", 30)
    finish_job(ledger, job_id, "w", [seg(ledger)], {})
    job = ledger.queries.job(job_id)
    assert (len(job.results), len(job.deliveries)) == (1, 1)
