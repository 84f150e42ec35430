"""What it means when objects come again: after a cancel, from another sender, or for another patient."""

import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from ledger_steps import arrival, delivering_job, evidence, fail_delivery, only_job, queued_job
from senders import association

from node.ledger.identity_digests import KEY_FILE, IdentityDigests
from node.records.instances import Outcome
from node.records.jobs import Decision
from node.records.states import JobState, Reason

S = JobState
ALPHA, BETA = ("ID-A", "", "ALPHA^A", "19400101", "20240101"), ("ID-B", "", "BETA^B", "19500202", "20240101")


def sent(ledger, clock, numbers, again=0.0, calling_ae="SCANNER", host="10.0.0.7", **other):
    """Record slices over an association of their own that begins after a pause."""
    clock.push(again)
    link = replace(association(calling_ae, host), started_at=clock())
    clock.push(0.1)
    key = f"inbox/{{}}{other.get('sha256', '')}.dcm"
    arrivals = [replace(arrival(ledger, n, **other), association=link, key=key.format(n)) for n in numbers]
    return [ledger.instances.record(one) for one in arrivals], arrivals


def newest(ledger):
    return max(ledger.queries.jobs(), key=lambda job: job.revision)


# --- sent whole again


def test_a_cancelled_series_that_is_sent_whole_again_is_decided_anew(ledger, clock):
    sent(ledger, clock, range(4))
    ledger.operator.cancel(only_job(ledger).id, "tester")
    assert sent(ledger, clock, range(3), 60)[0] == [Outcome.DUPLICATE] * 3
    assert only_job(ledger).state is S.CANCELLED, "one is missing"
    sent(ledger, clock, [3], 1)
    old, new = sorted(ledger.queries.jobs(), key=lambda job: job.revision)
    assert (old.state, old.code) == (S.CANCELLED, Reason.PERSON_CANCELS)
    assert (new.state, new.revision, new.instances) == (S.RECEIVED, 2, 4)
    assert len(ledger.instances.headers_of(new.id)) == 4
    assert "sent whole again" in ledger.queries.events(new.id)[0].text


def test_what_was_cancelled_while_it_arrived_stays_so_until_the_whole_comes_again(ledger, clock):
    sent(ledger, clock, range(4))
    ledger.operator.cancel(only_job(ledger).id, "tester")
    sent(ledger, clock, range(4, 8), 5)
    assert (only_job(ledger).state, only_job(ledger).instances) == (S.CANCELLED, 8)
    sent(ledger, clock, range(8), 60)
    assert (newest(ledger).state, newest(ledger).instances) == (S.RECEIVED, 8)


def test_a_failed_series_that_is_sent_whole_again_is_decided_anew(ledger, clock):
    delivering_job(ledger)
    fail_delivery(ledger)
    assert only_job(ledger).state is S.FAILED
    sent(ledger, clock, [1], 60)
    assert (newest(ledger).state, newest(ledger).revision) == (S.RECEIVED, 2)


def test_a_delivered_series_that_is_sent_again_stays_as_it_is(ledger, clock):
    delivering_job(ledger)
    sent(ledger, clock, [1], 60)
    assert only_job(ledger).duplicates == 1


def test_a_series_held_for_two_patients_that_is_sent_whole_for_one_is_decided_anew(ledger, clock):
    """An archive corrects the patient while the series arrives, and sends all of it again."""
    sent(ledger, clock, range(2), identity=ALPHA)
    sent(ledger, clock, range(4), 1, sha256="right", identity=BETA)
    job_id = only_job(ledger).id
    ledger.decisions.apply(job_id, Decision(S.HELD, Reason.MIXED_PATIENT, "two patients"))
    sent(ledger, clock, range(3), 60, sha256="right", identity=BETA)
    assert only_job(ledger).state is S.HELD, "one is missing"
    sent(ledger, clock, [3], 1, sha256="right", identity=BETA)
    old, new = sorted(ledger.queries.jobs(), key=lambda job: job.revision)
    assert (old.code, new.state, new.instances) == (Reason.SUPERSEDED, S.RECEIVED, 4)
    assert len({header.identity for header in ledger.instances.headers_of(new.id)}) == 1
    assert len(ledger.instances.headers_of(new.id)) == 4


def test_a_cancelled_series_that_is_sent_for_another_patient_uses_what_came_last(ledger, clock):
    sent(ledger, clock, range(3), identity=ALPHA)
    before = ledger.instances.headers_of(only_job(ledger).id)
    ledger.operator.cancel(only_job(ledger).id, "tester")
    sent(ledger, clock, range(3), 60, sha256="right", identity=BETA)
    used = {header.identity for header in ledger.instances.headers_of(newest(ledger).id)}
    assert len(used) == 1 and used.isdisjoint(header.identity for header in before)


# --- another sender


@pytest.mark.parametrize("sender", [{"calling_ae": "STRANGER"}, {"host": "10.0.0.66"}])
def test_a_slice_that_another_sender_adds_to_a_decided_series_is_a_finding(ledger, clock, sender):
    delivering_job(ledger)
    sent(ledger, clock, [2], 60, **sender)
    assert evidence(ledger).other_sender
    ledger.decisions.apply(newest(ledger).id, Decision(S.HELD, Reason.OTHER_SENDER, "?"))
    sent(ledger, clock, [3], 60)
    assert evidence(ledger).other_sender, "it still holds a slice of the other sender"
    ledger.operator.release(newest(ledger).id, "tester")
    assert evidence(ledger).forced
    ledger.decisions.apply(newest(ledger).id, Decision(S.COMPLETE))
    sent(ledger, clock, [4], 60, calling_ae="SCANNER", host="10.0.0.7")
    assert not evidence(ledger).other_sender, "a person has looked"


def test_the_same_sender_and_files_found_on_the_disk_are_none(ledger, clock):
    queued_job(ledger)
    sent(ledger, clock, [2], 60)
    assert not evidence(ledger).other_sender
    ledger.decisions.apply(newest(ledger).id, Decision(S.COMPLETE))
    sent(ledger, clock, [3], 60, calling_ae="FOUND-ON-DISK", host="")
    assert not evidence(ledger).other_sender


# --- pauses


def test_the_longest_pause_between_associations_is_remembered_and_goes_to_the_next_revision(ledger, clock):
    for pause in (0, 22, 5):
        sent(ledger, clock, [int(pause)], pause)
    assert evidence(ledger).pause == pytest.approx(22, abs=0.2)
    ledger.decisions.apply(only_job(ledger).id, Decision(S.COMPLETE))
    sent(ledger, clock, [90], 40)
    assert evidence(ledger).pause == pytest.approx(40, abs=0.2)
    ledger.decisions.apply(newest(ledger).id, Decision(S.COMPLETE))
    sent(ledger, clock, [91], 90)
    assert evidence(ledger).pause == pytest.approx(40, abs=0.2), "after so long it is no rhythm"


def test_a_pause_within_an_association_does_not_count(ledger, clock):
    link = replace(association(host="10.0.0.7"), started_at=clock() - timedelta(seconds=1))
    for n in range(3):
        clock.push(30)
        ledger.instances.record(replace(arrival(ledger, n), association=link))
    assert evidence(ledger).pause == 0


# --- another patient


def corrected(ledger, clock, numbers):
    _, arrivals = sent(ledger, clock, numbers, 60, sha256="corrected", identity=BETA)
    return [ledger.resends.correct(one) for one in arrivals]


def test_objects_of_another_patient_open_a_revision_that_uses_them(ledger, clock):
    sent(ledger, clock, range(3), identity=ALPHA)
    first = only_job(ledger).id
    ledger.decisions.apply(first, Decision(S.COMPLETE))
    before = ledger.instances.headers_of(first)
    outcomes, arrivals = sent(ledger, clock, range(3), 60, sha256="corrected", identity=BETA)
    assert outcomes == [Outcome.VARIANT] * 3
    assert ledger.instances.headers_of(first) == before
    assert not any(ledger.resends.known(one).same_identity for one in arrivals)
    assert all(ledger.resends.known(one).same_header for one in arrivals)
    assert [ledger.resends.correct(one) for one in arrivals] == [True] * 3
    new = newest(ledger)
    assert (new.revision, new.instances, evidence(ledger).corrected) == (2, 3, 3)
    assert ledger.instances.headers_of(first) == before
    used = ledger.instances.headers_of(new.id)
    assert len({header.identity for header in used}) == 1
    assert not {header.identity for header in used} & {header.identity for header in before}


def test_what_is_corrected_in_part_holds_two_patients(ledger, clock):
    sent(ledger, clock, range(4), identity=ALPHA)
    ledger.decisions.apply(only_job(ledger).id, Decision(S.COMPLETE))
    assert corrected(ledger, clock, range(2)) == [True, True]
    assert len({header.identity for header in ledger.instances.headers_of(newest(ledger).id)}) == 2


def test_a_correction_while_the_series_arrives_changes_nothing(ledger, clock):
    sent(ledger, clock, range(2), identity=ALPHA)
    assert corrected(ledger, clock, range(2)) == [False, False]
    sent(ledger, clock, [2], identity=BETA)
    assert len({header.identity for header in ledger.instances.headers_of(only_job(ledger).id)}) == 2


def test_other_content_is_used_by_no_later_revision(ledger, clock):
    queued_job(ledger)
    sent(ledger, clock, [1], 60, sha256="other")
    sent(ledger, clock, [2], 60)
    assert ledger.instances.keys_of(newest(ledger).id) == ["inbox/1.dcm", "inbox/2.dcm"]
    assert len(ledger.instances.keys_of(newest(ledger).id)) == 2


def test_the_ledger_holds_no_patient(ledger, clock):
    sent(ledger, clock, [1], identity=ALPHA)
    [header] = ledger.instances.headers_of(only_job(ledger).id)
    assert header.identity[1] == "" and all(len(header.identity[n]) == 16 for n in (0, 2, 3, 4))
    for name in ("ledger.sqlite3", "ledger.sqlite3-wal"):
        content = (ledger.data / name).read_bytes()
        assert not any(value.encode() in content for value in ALPHA if value)
    assert (ledger.data / KEY_FILE).stat().st_mode & 0o777 == 0o600


def test_digests_tell_values_apart_and_ignore_how_they_are_written(tmp_path):
    own = IdentityDigests(tmp_path)
    assert own.of(("A", "", "Doe^John")) == IdentityDigests(tmp_path).of(("a", "", "DOE^JOHN^^"))
    assert own.of(("A",)) != own.of(("B",))
    assert own.of(("A",)) != IdentityDigests(tmp_path / "..").of(("A",))
    (tmp_path / ".." / KEY_FILE).unlink()


def test_the_key_of_the_digests_outlasts_a_power_cut(tmp_path, monkeypatch):
    synced, fsync = [], os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda handle: (synced.append(str(Path(f"/proc/self/fd/{handle}").readlink())), fsync(handle))
    )
    IdentityDigests(tmp_path).of(("A",))
    assert synced[-1] == str(tmp_path), "the entry of the folder, after the content"
    assert len(synced) == 2


# --- two studies under one Series UID


def test_other_objects_with_the_series_uid_in_another_study_are_a_finding(ledger, clock):
    sent(ledger, clock, range(2))
    [first] = ledger.queries.jobs()
    assert not ledger.instances.shares_series_uid(first.id)
    sent(ledger, clock, range(5, 7), study_uid="1.9")
    assert all(ledger.instances.shares_series_uid(job.id) for job in ledger.queries.jobs())


def test_the_same_objects_in_another_study_were_moved(ledger, clock):
    sent(ledger, clock, range(2))
    sent(ledger, clock, range(2), study_uid="1.9")
    assert not any(ledger.instances.shares_series_uid(job.id) for job in ledger.queries.jobs())


# --- a report before the scan


def test_a_series_is_described_by_its_first_ct_image(ledger, clock):
    sent(ledger, clock, [1], modality="SR", series_description="Dose report")
    sent(ledger, clock, [2, 3], series_description="Hip", body_part="HIP")
    job = only_job(ledger)
    assert (job.modality, job.description, job.body_part, job.instances) == ("CT", "Hip", "HIP", 3)


@pytest.mark.parametrize("late", [{"modality": "SR"}, {"image_type": ("ORIGINAL", "PRIMARY", "LOCALIZER")}])
@pytest.mark.parametrize("make", [queued_job, delivering_job])
def test_a_late_report_or_localiser_opens_no_revision(ledger, clock, late, make):
    job_id = make(ledger)
    state = ledger.queries.job(job_id).state
    outcomes, _ = sent(ledger, clock, [9], 60, **late)
    job = only_job(ledger)
    assert (outcomes, job.id, job.state, job.instances) == ([Outcome.NEW], job_id, state, 2)
    sent(ledger, clock, [2], 60)
    assert (newest(ledger).revision, newest(ledger).instances) == (2, 3)
