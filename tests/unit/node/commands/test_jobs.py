import hashlib
import json
import os
import platform
import pwd
from contextlib import closing

import pytest
from ledger_steps import finish_job
from senders import association

from node.cli import main
from node.ledger import Ledger
from node.records.instances import Arrival, Header
from node.records.jobs import Decision, Refusal
from node.records.results import Result
from node.records.states import JobState, Reason
from node.settings.settings import load_settings


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QCT_NODE_NODE__DATA", str(tmp_path / "data"))
    return tmp_path


@pytest.fixture
def ledger():
    with closing(Ledger.of(load_settings())) as opened:
        yield opened


@pytest.fixture
def run(capsys):
    """Run the command line; return exit code, stdout, stderr."""

    def call(*arguments):
        try:
            main(list(arguments))
            code = 0
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        return code, out, err

    return call


def received(ledger, series="1.2.3"):
    header = Header("1.2", series, f"{series}.1", "1.9", modality="CT", series_description="QCT hip")
    ledger.instances.record(Arrival(header, "1.2.840.10008.1.2.1", "x.dcm", "d", 1, association(host="10.0.0.7")))
    return next(job.id for job in ledger.queries.jobs(JobState.RECEIVED) if job.series_uid == series)


def failed(ledger):
    job_id = received(ledger)
    ledger.decisions.apply(job_id, Decision(JobState.COMPLETE))
    ledger.decisions.apply(job_id, Decision(JobState.QUEUED, destinations=("pacs",)))
    ledger.queue.claim(job_id, "w", 30)
    path = ledger.data / "results" / "seg.dcm"
    path.parent.mkdir()
    path.write_bytes(b"a mask")
    made = [Result("seg", "results/seg.dcm", hashlib.sha256(b"a mask").hexdigest(), 6, "1.66.4", "2.25.1")]
    finish_job(ledger, job_id, "w", made, {"timings": {"segment": 1.5}})
    [delivery] = ledger.outbox.due(0)
    ledger.outbox.claim(delivery, "s", 30)
    ledger.outbox.failed(delivery, "s", "it does not know our AE title", next_at=None)
    return job_id


def test_jobs_json_holds_the_rows_of_the_contract(ledger, run):
    ledger.decisions.record_refusal(Refusal("CHECKER", "10.0.0.9", Reason.EMPTY_ASSOCIATION, "carried nothing"))
    job_id = failed(ledger)
    code, out, err = run("jobs", "--json")
    assert (code, err) == (0, "")
    newest, refusal = sorted(json.loads(out), key=lambda row: row["series_uid"] is None)
    assert newest["id"] == job_id
    assert (newest["state"], newest["reason_code"], newest["study_uid"]) == ("failed", "delivery-refused", "1.2")
    assert newest["reason"] == "pacs: it does not know our AE title"
    assert (newest["modality"], newest["description"], newest["calling_ae"]) == ("CT", "QCT hip", "SCANNER")
    assert (newest["attempts"], newest["instances"], newest["stages"]) == (1, 1, {"segment": 1.5})
    assert newest["outputs"] == [str(ledger.data / "results/seg.dcm")]
    assert newest["deliveries"][0]["peer"] == "pacs"
    assert {"worker", "stage", "started_at", "finished_at", "received_at"} <= set(newest)
    assert (refusal["state"], refusal["series_uid"], refusal["outputs"]) == ("declined", None, [])


def test_jobs_by_state_and_as_text(ledger, run):
    job_id = received(ledger)
    assert json.loads(run("jobs", "--state", "held", "--json")[1]) == []
    code, out, _ = run("jobs", "--state", "received")
    assert code == 0
    heading, line = out.splitlines()
    assert heading.split()[:2] == ["JOB", "STATE"]
    assert line.split()[:2] == [job_id, "received"] and "QCT hip" in line


def test_show_tells_the_history(ledger, run):
    job_id = failed(ledger)
    row = json.loads(run("show", job_id, "--json")[1])
    assert [event["state"] for event in row["events"]][:5] == [
        "received",
        "complete",
        "queued",
        "running",
        "delivering",
    ]
    code, out, _ = run("show", job_id)
    assert code == 0
    assert "delivery     seg to pacs: failed it does not know our AE title" in out
    assert "stage        segment 1.5 s" in out


def test_hold_release_cancel_retry(ledger, run):
    job_id = received(ledger)
    assert run("hold", job_id) == (0, f"job {job_id} is held\n", "")
    actor = f"{pwd.getpwuid(os.getuid()).pw_name} on {platform.node()}"
    assert f"held       held by {actor}" in run("show", job_id)[1]
    assert run("release", job_id) == (0, f"job {job_id} is received\n", "")
    assert not ledger.queries.job(job_id).forced
    assert run("release", job_id) == (0, f"job {job_id} is received\n", "")
    assert ledger.queries.job(job_id).forced
    assert run("cancel", job_id) == (0, f"job {job_id} is cancelled\n", "")
    assert run("retry", job_id) == (0, f"job {job_id} is received again\n", "")
    assert ledger.queries.job(job_id).state is JobState.RECEIVED


def test_retry_sends_again_what_failed_to_be_sent(ledger, run, folder):
    job_id = failed(ledger)
    (folder / "qct-node.toml").write_text(
        '[[peers]]\nname = "pacs"\nae_title = "PACS"\nhost = "10.0.0.5"\nport = 104\n'
    )
    assert run("retry", job_id)[1] == f"job {job_id} is delivering again\n"
    (folder / "qct-node.toml").unlink()
    assert run("retry", job_id)[1] == f"job {job_id} is delivered: the present settings ask for nothing more\n"


@pytest.mark.parametrize("command", ["show", "hold", "release", "cancel", "retry"])
def test_an_unknown_job_is_one_sentence_and_exit_1(ledger, run, command):
    assert ledger.queries.jobs() == []
    assert run(command, "nobody") == (1, "", "there is no job nobody\n")


def test_an_action_the_state_forbids_is_one_sentence_and_exit_1(ledger, run):
    job_id = failed(ledger)
    code, out, err = run("release", job_id)
    assert (code, out) == (1, "")
    assert err == f"job {job_id} is failed; only a held or receiving job can be released\n"


def test_usage_errors_exit_2(run):
    assert run("jobs", "--state", "sleeping")[0] == 2
    assert run("show")[0] == 2
    assert run("dance")[0] == 2


def test_without_a_ledger_nothing_is_created(run, folder):
    code, out, err = run("jobs", "--json")
    assert (code, out) == (1, "")
    assert "there is no ledger at" in err and "qct-node up" in err
    assert not (folder / "data").exists()


def test_invalid_settings_are_reported_and_exit_1(run, folder):
    (folder / "bad.toml").write_text("[node]\ndicom_port = 99999\n[intake]\nquiet_seconds = 0\n")
    code, _, err = run("--config", str(folder / "bad.toml"), "jobs")
    assert code == 1
    assert "node.dicom_port = 99999" in err and "intake.quiet_seconds = 0" in err


def test_status_names_missing_reports(ledger, run):
    received(ledger)
    for kind in ("scp", "supervisor", "worker-segment"):
        ledger.processes.report(f"{kind}@here:1", kind, "here", 1)
    code, out, err = run("status", "--json")
    report = json.loads(out)
    assert code == 1
    assert err == "the delivering worker has never reported\n"
    assert report["jobs"]["received"] == 1
    assert {process["kind"] for process in report["processes"]} == {"scp", "supervisor", "worker-segment"}
    ledger.processes.report("worker-deliver@here:1", "worker-deliver", "here", 1)
    code, out, err = run("status")
    assert (code, err) == (0, "")
    assert "jobs: 1 received" in out


def test_status_says_when_the_disk_is_nearly_full(ledger, run, monkeypatch):
    monkeypatch.setenv("QCT_NODE_INTAKE__MIN_FREE_MB", str(10**9))
    assert ledger.queries.jobs() == []
    code, _, err = run("status")
    assert code == 1 and "nothing is received" in err


def test_show_says_that_files_were_removed(ledger, run):
    job_id = failed(ledger)
    _, out, _ = run("show", job_id)
    assert f"result       seg {ledger.data}/results/seg.dcm" in out
    with ledger.database.write() as connection:
        connection.exec_driver_sql("UPDATE jobs SET removed_at = '2026-03-01 12:00:00.000000'")
    _, out, _ = run("show", job_id)
    assert "result       seg removed" in out


def test_status_and_check_warn_before_the_disk_is_full_and_do_not_fail(ledger, run, monkeypatch):
    for kind in ("scp", "supervisor", "worker-segment", "worker-deliver"):
        ledger.processes.report(f"{kind}@here:1", kind, "here", 1)
    monkeypatch.setenv("QCT_NODE_INTAKE__MIN_FREE_MB", "0")
    monkeypatch.setenv("QCT_NODE_INTAKE__WARN_FREE_MB", str(10**9))
    code, out, _ = run("status")
    assert code == 0 and "disk: WARNING: " in out and "below warn_free_mb = 1000000000" in out
    code, out, _ = run("status", "--json")
    report = json.loads(out)
    assert (code, report["status"], report["disk"]["ok"], report["disk"]["warning"]) == (0, "ok", True, True)
    assert "free some soon" in report["warnings"][0]
    _, out, _ = run("check")
    assert "warn  disk: " in out


def test_check_runs_every_check_and_names_those_that_fail(run, folder, monkeypatch):
    model = folder / "model"
    model.mkdir()
    monkeypatch.setenv("QCT_NODE_SEGMENTER__MODEL", str(model))
    code, out, err = run("check", "--json")
    report = json.loads(out)
    found = {finding["name"]: finding["ok"] for finding in report["checks"]}
    assert (code, report["ok"], err) == (1, False, "failed checks: model\n")
    assert found["settings"] and found["ledger"] and found["disk"] and not found["model"]
    (model / "fine.safetensors").write_bytes(b"weights")
    code, out, _ = run("check")
    assert code == 0
    assert "ok    model: 1 weight file in" in out
    assert not (folder / "data").exists()


def test_check_looks_for_the_calibration_file(run, folder):
    (folder / "qct-node.toml").write_text("[segmenter]\ncalibration = 'phantoms.toml'\n")
    code, out, err = run("check")
    assert code == 1 and f"ERROR calibration: {folder / 'phantoms.toml'} cannot be read" in out
    assert "calibration" in err
    (folder / "phantoms.toml").write_text("mode = 'none'\n")
    code, out, _ = run("check")
    assert code == 0 and f"ok    calibration: {folder / 'phantoms.toml'}" in out


def test_check_reports_invalid_settings(run, folder):
    (folder / "qct-node.toml").write_text("[node]\nae_title = ''\n")
    code, out, _ = run("check", "--json")
    [finding] = json.loads(out)["checks"]
    assert (code, finding["name"], finding["ok"]) == (1, "settings", False)
