"""Deliveries: claimed, sent, put off, refused."""

from datetime import timedelta

from ledger_steps import delivering_job

from node.records.states import JobState

S = JobState


def test_a_job_is_delivered_when_the_last_peer_has_it(ledger):
    job_id = delivering_job(ledger, ("pacs", "archive"))
    for delivery_id in ledger.outbox.due(15):
        assert ledger.queries.job(job_id).state is S.DELIVERING
        claimed = ledger.outbox.claim(delivery_id, "sender", 60)
        assert claimed is not None and claimed.result.key == "results/seg.dcm"
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
