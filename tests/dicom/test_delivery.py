"""Delivery over associations: objects sent, retries, and failures with their reasons."""

from datetime import timedelta

import pytest
from ledger_steps import RunningClock, finish_job, write_result
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from senders import association

from node.ledger import Ledger
from node.records.instances import Arrival, Header
from node.records.jobs import Decision
from node.records.states import DeliveryState, JobState
from node.scu.delivery import deliver
from node.settings.settings import load_settings


@pytest.fixture
def clock():
    return RunningClock()


@pytest.fixture
def settings(tmp_path, peer):
    return load_settings(
        None,
        node={"data": tmp_path / "data"},
        peers=[{"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": peer.port}],
        delivery={"backoff_seconds": [5, 60], "max_attempts": 3, "timeout_seconds": 2},
    )


@pytest.fixture
def ledger(settings, clock):
    opened = Ledger.of(settings, clock)
    yield opened
    opened.close()


@pytest.fixture
def job(ledger, settings):
    """A finished job with two results for the peer; returns its id."""
    header = Header(generate_uid(), generate_uid(), generate_uid(), CTImageStorage, modality="CT")
    ledger.instances.record(Arrival(header, ExplicitVRLittleEndian, "x", "0", 1, association()))
    (found,) = ledger.queries.jobs()
    ledger.decisions.apply(found.id, Decision(JobState.COMPLETE))
    ledger.decisions.apply(found.id, Decision(JobState.QUEUED, destinations=("pacs",)))
    assert ledger.queue.claim(found.id, "worker", 30)
    keys = [f"results/{found.id}/{name}" for name in ("seg.dcm", "sr.dcm")]
    made = [write_result(settings.data / key, key) for key in keys]
    assert finish_job(ledger, found.id, "worker", made, {})
    return found.id


def rows(ledger, job_id):
    return ledger.queries.job(job_id).deliveries


def test_all_results_of_a_job_are_sent_over_one_association(ledger, settings, job, peer):
    deliver(ledger, settings, rows(ledger, job)[0].id, "me")
    assert ledger.queries.job(job).state is JobState.DELIVERED
    assert [uid for uid, _ in peer.received] == [row.result.sop_uid for row in rows(ledger, job)]
    assert peer.associations == 1


def test_second_message_for_the_same_delivery_sends_nothing(ledger, settings, job, peer):
    for row in rows(ledger, job) * 2:
        deliver(ledger, settings, row.id, "me")
    assert len(peer.received) == 2


def test_an_absent_peer_is_retried_with_growing_pauses(ledger, clock, settings, job, peer):
    peer.stop()
    for pause in (5, 60):
        before = clock()
        deliver(ledger, settings, rows(ledger, job)[0].id, "me")
        for row in rows(ledger, job):
            assert row.state is DeliveryState.WAITING
            assert "nothing listens there" in row.reason
            assert timedelta(seconds=pause) <= row.next_at - before <= timedelta(seconds=pause + 10)
        assert ledger.queries.job(job).state is JobState.DELIVERING
        clock.offset += timedelta(seconds=pause + 10)
    peer.start()
    deliver(ledger, settings, rows(ledger, job)[0].id, "me")
    assert ledger.queries.job(job).state is JobState.DELIVERED
    assert len(peer.received) == 2


def test_the_last_attempt_is_reported_as_the_last(ledger, clock, settings, job, peer):
    peer.stop()
    for _ in range(3):
        deliver(ledger, settings, rows(ledger, job)[0].id, "me")
        clock.offset += timedelta(minutes=5)
    found = ledger.queries.job(job)
    assert found.state is JobState.FAILED
    assert "given up after 3 attempts" in found.reason


@pytest.mark.parametrize(
    ("status", "state", "words"),
    [
        (0xA700, JobState.DELIVERING, "0xA700: it is out of resources"),
        (0x0110, JobState.DELIVERING, "0x0110: it could not process this object"),
        (0xA900, JobState.FAILED, "0xA900: it does not accept this object"),
        (0xC123, JobState.FAILED, "0xC123: it does not accept this object"),
    ],
)
def test_the_status_decides_whether_the_delivery_is_retried(ledger, settings, job, peer, status, state, words):
    peer.status = status
    deliver(ledger, settings, rows(ledger, job)[0].id, "me")
    found = ledger.queries.job(job)
    assert found.state is state
    assert words in found.reason


def test_an_instance_the_peer_already_has_counts_as_delivered(ledger, settings, job, peer):
    peer.status = 0x0111  # duplicate SOP instance: the response to the first attempt was lost
    deliver(ledger, settings, rows(ledger, job)[0].id, "me")
    assert ledger.queries.job(job).state is JobState.DELIVERED


def test_retry_sends_only_what_failed(ledger, settings, job, peer):
    first, second = rows(ledger, job)
    file = settings.data / second.result.key
    file.write_bytes(file.read_bytes() + b"\0")
    deliver(ledger, settings, first.id, "me")
    found = ledger.queries.job(job)
    assert found.state is JobState.FAILED
    assert "was changed after it was made" in found.reason
    assert [uid for uid, _ in peer.received] == [first.result.sop_uid]
    file.write_bytes(file.read_bytes()[:-1])
    ledger.operator.retry(job, "tester")
    deliver(ledger, settings, second.id, "me")
    assert ledger.queries.job(job).state is JobState.DELIVERED
    assert [uid for uid, _ in peer.received] == [first.result.sop_uid, second.result.sop_uid]


def test_a_missing_result_file_fails_with_the_remedy(ledger, settings, job, peer):
    first, _ = rows(ledger, job)
    (settings.data / first.result.key).unlink()
    deliver(ledger, settings, first.id, "me")
    assert "cannot be read (No such file or directory): segment the series again" in ledger.queries.job(job).reason
    assert peer.received


def test_a_peer_removed_from_the_settings_is_named(ledger, settings, job, tmp_path, peer):
    without = load_settings(None, node={"data": tmp_path / "data"})
    deliver(ledger, without, rows(ledger, job)[0].id, "me")
    found = ledger.queries.job(job)
    assert found.state is JobState.FAILED
    assert "no peer pacs any more" in found.reason


def test_a_rejected_calling_ae_title_is_not_retried(ledger, settings, job, peer):
    peer.require_calling_ae("OTHER")
    deliver(ledger, settings, rows(ledger, job)[0].id, "me")
    found = ledger.queries.job(job)
    assert found.state is JobState.FAILED
    assert "does not know our AE title QCTNODE" in found.reason


def test_an_unexpected_error_is_a_failed_attempt(ledger, clock, settings, job, peer, caplog):
    # The SCU's sockets do not accept such a timeout, which raises an unexpected error.
    timeout = {"timeout_seconds": 1e300, "max_attempts": 2, "backoff_seconds": (5,)}
    broken = settings.model_copy(update={"delivery": settings.delivery.model_copy(update=timeout)})
    deliver(ledger, broken, rows(ledger, job)[0].id, "me")
    for row in rows(ledger, job):
        assert row.state is DeliveryState.WAITING
        assert row.reason.startswith("unexpected error (OverflowError)")
        assert row.next_at > ledger.now()
    assert "Traceback" in caplog.text
    clock.offset += timedelta(minutes=5)
    deliver(ledger, broken, rows(ledger, job)[0].id, "me")
    found = ledger.queries.job(job)
    assert found.state is JobState.FAILED
    assert "given up after 2 attempts: unexpected error (OverflowError)" in found.reason


def test_a_delivery_whose_workers_all_died_fails(ledger, clock, settings, job, peer):
    first, second = rows(ledger, job)
    for attempt in range(3):
        assert ledger.outbox.claim(first.id, f"dead{attempt}", settings.delivery.lease_seconds)
        clock.offset += timedelta(seconds=settings.delivery.lease_seconds + 1)
    assert ledger.outbox.due(0) == [first.id, second.id]
    deliver(ledger, settings, first.id, "me")
    assert [row.state for row in rows(ledger, job)] == [DeliveryState.FAILED, DeliveryState.DELIVERED]
    assert "given up after 3 attempts: the sender was stopped in the middle" in ledger.queries.job(job).reason
    assert [uid for uid, _ in peer.received] == [second.result.sop_uid]
    assert first.id not in ledger.outbox.due(0)


def test_an_invalid_host_name_is_one_sentence(ledger, settings, job):
    wrong = [pacs.model_copy(update={"host": "pacs..example"}) for pacs in settings.peers]
    deliver(ledger, settings.model_copy(update={"peers": tuple(wrong)}), rows(ledger, job)[0].id, "me")
    assert "cannot be reached: its host name is not valid" in ledger.queries.job(job).reason
