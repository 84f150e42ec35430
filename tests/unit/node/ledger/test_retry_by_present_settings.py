"""A retry sends what the present settings ask for, not what was owed when the series was segmented."""

from dataclasses import replace

import pytest
from ledger_steps import finish_job, only_job, running_job, seg

from node.decide.due_now import due_now
from node.errors import NotAllowedError
from node.records.states import DeliveryState, JobState
from node.settings.settings import load_settings

D = DeliveryState


def peer(name="pacs", **more):
    return {"name": name, "ae_title": "PACS", "host": "10.0.0.5", "port": 104} | more


@pytest.fixture
def without_toml(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def refused(ledger, without_toml):
    """A job whose segmentation is delivered and whose report the peer refused; returns its id."""
    job_id = running_job(ledger)
    made = seg(ledger)
    report = replace(made, kind="sr", key="results/sr.dcm", sop_uid="2.25.2")
    (ledger.data / report.key).write_bytes(b"a mask")
    assert finish_job(ledger, job_id, "w", [made, report], {})
    for number, row in enumerate(only_job(ledger).deliveries):
        assert ledger.outbox.claim(row.id, "s", 60)
        if number == 0:
            ledger.outbox.delivered(row.id, "s")
        else:
            ledger.outbox.failed(row.id, "s", "it does not accept Comprehensive 3D SR", next_at=None)
    assert only_job(ledger).state is JobState.FAILED
    return job_id


def retry(ledger, job_id, **sections):
    settings = load_settings(None, **sections)
    due = due_now(ledger.queries.job(job_id), ledger.instances.headers_of(job_id), settings)
    return ledger.operator.retry(job_id, "tester", due)


def rows(ledger):
    return [(row.result.kind, row.peer, row.state) for row in only_job(ledger).deliveries]


def test_a_result_that_the_peer_is_not_to_have_any_more_is_not_owed(ledger, refused):
    assert retry(ledger, refused, peers=[peer(results=["seg", "sc"])]) is JobState.DELIVERED
    assert rows(ledger) == [("seg", "pacs", D.DELIVERED), ("sr", "pacs", D.CANCELLED)]
    assert "the present settings do not ask for it" in only_job(ledger).deliveries[1].reason


def test_unchanged_settings_repeat_only_what_failed(ledger, refused):
    assert retry(ledger, refused, peers=[peer()]) is JobState.DELIVERING
    assert rows(ledger) == [("seg", "pacs", D.DELIVERED), ("sr", "pacs", D.WAITING)]


def test_a_renamed_peer_gets_all_under_its_new_name(ledger, refused):
    assert retry(ledger, refused, peers=[peer("archive")]) is JobState.DELIVERING
    assert rows(ledger) == [
        ("seg", "pacs", D.DELIVERED),
        ("sr", "pacs", D.CANCELLED),
        ("seg", "archive", D.WAITING),
        ("sr", "archive", D.WAITING),
    ]
    assert only_job(ledger).destinations == ("archive",)


def test_a_result_that_is_asked_for_again_is_sent(ledger, refused):
    retry(ledger, refused, peers=[peer("archive")])
    assert retry(ledger, refused, peers=[peer()]) is JobState.DELIVERING
    assert ("sr", "pacs", D.WAITING) in rows(ledger)
    assert ("seg", "archive", D.CANCELLED) in rows(ledger)


def test_the_present_route_decides_where_a_repeated_segmentation_goes(ledger, without_toml):
    from node.records.jobs import Decision

    job_id = running_job(ledger)
    ledger.queue.stop(job_id, "w", Decision(JobState.FAILED, "unexpected", "broken"))
    route = {"name": "hip", "destinations": ["archive"], "priority": 7, "model": "/models/hip"}
    assert retry(ledger, job_id, peers=[peer("archive")], routes=[route]) is JobState.QUEUED
    found = only_job(ledger)
    assert (found.destinations, found.route, found.priority) == (("archive",), "hip", 7)
    assert found.model.endswith("/models/hip")


def test_a_series_that_the_present_routes_decline_is_not_sent(ledger, refused):
    route = {"name": "none", "action": "decline"}
    with pytest.raises(NotAllowedError, match="not wanted by the present settings: the route none declines it"):
        retry(ledger, refused, peers=[peer()], routes=[route])
    assert only_job(ledger).state is JobState.FAILED


def test_a_waiting_delivery_is_sent_now(ledger, without_toml):
    job_id = running_job(ledger)
    assert finish_job(ledger, job_id, "w", [seg(ledger)], {})
    [row] = only_job(ledger).deliveries
    assert ledger.outbox.claim(row.id, "s", 60)
    later = ledger.now().replace(year=2030)
    ledger.outbox.failed(row.id, "s", "away", next_at=later)
    assert ledger.outbox.due(0) == []
    assert retry(ledger, job_id, peers=[peer()]) is JobState.DELIVERING
    assert ledger.outbox.due(0) == [row.id]
    assert retry(ledger, job_id, peers=[]) is JobState.DELIVERED


def test_results_that_a_worker_made_in_the_meantime_are_not_given_up(ledger, refused):
    """Two persons retry: what the second asks for was decided from results that exist no more."""
    settings = load_settings(None, peers=[peer()])
    due = due_now(ledger.queries.job(refused), ledger.instances.headers_of(refused), settings)
    for result in only_job(ledger).results:
        (ledger.data / result.key).unlink()
    assert ledger.operator.retry(refused, "first") is JobState.QUEUED
    assert ledger.queue.claim(refused, "w2", 60)
    made = replace(seg(ledger), key="results/again.dcm")
    (ledger.data / made.key).write_bytes(b"a mask")
    assert finish_job(ledger, refused, "w2", [made], {})
    with pytest.raises(NotAllowedError, match="has got new results in the meantime"):
        ledger.operator.retry(refused, "second", due)
    assert rows(ledger) == [("seg", "pacs", D.WAITING)]
