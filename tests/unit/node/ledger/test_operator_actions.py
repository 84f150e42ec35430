"""Hold, release, cancel and retry."""

from pathlib import Path

import pytest
from ledger_steps import (
    arrival,
    delivering_job,
    evidence,
    fail_delivery,
    finish_job,
    only_job,
    queued_job,
    running_job,
    seg,
)

from node.errors import NotAllowedError, UnknownJobError
from node.records.jobs import Decision
from node.records.states import DeliveryState, JobState, Reason

S = JobState


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
        spoil(ledger.data / ledger.queries.job(job_id).results[0].key)
        assert ledger.operator.retry(job_id, "tester") is S.QUEUED
        assert ledger.outbox.due(0) == []
        assert ledger.queue.claim(job_id, "w", 30)
        assert finish_job(ledger, job_id, "w", [seg(ledger)], {})
    fail_delivery(ledger)
    assert ledger.operator.retry(job_id, "tester") is S.DELIVERING


def test_what_has_not_failed_is_not_retried(ledger):
    with pytest.raises(NotAllowedError, match="is queued"):
        ledger.operator.retry(queued_job(ledger), "tester")
    with pytest.raises(UnknownJobError):
        ledger.operator.retry("nobody", "tester")
