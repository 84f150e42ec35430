"""The web page over a real ledger: its content, what it hides, and its JSON."""

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from ledger_steps import finish_job
from senders import association
from starlette.testclient import TestClient

from node.files.retention import RetentionStage
from node.ledger import Ledger
from node.records.instances import Arrival, Header
from node.records.jobs import Decision, Refusal
from node.records.results import Result
from node.records.states import JobState
from node.settings.sections import Retention
from node.settings.settings import load_settings
from node.web.app import HEADERS, make_app

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SERIES = "1.2.826.0.1.77.1"
LOCAL = "http://localhost"
PARTS = ("scp", "supervisor", "worker-segment", "worker-deliver")


class Clock:
    def __init__(self):
        self.now = START

    def __call__(self):
        return self.now

    def pass_(self, seconds):
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def settings(tmp_path):
    return load_settings(
        None, node={"data": tmp_path, "ae_title": "HIPNODE", "dicom_host": "10.1.2.3", "dicom_port": 11112}
    )


@pytest.fixture
def ledger(settings, clock):
    opened = Ledger.of(settings, clock)
    yield opened
    opened.close()


@pytest.fixture
def client(settings, ledger):
    with TestClient(make_app(settings, ledger), base_url=LOCAL, raise_server_exceptions=False) as browser:
        yield browser


@pytest.fixture
def receive(ledger, tmp_path):
    """Let one slice of a series arrive; return the id of its job."""

    def one(number=1, series_uid=SERIES, calling_ae="CT1", **header):
        uids = {"study_uid": "1.2.826.0.1.77", "series_uid": series_uid, "sop_uid": f"{series_uid}.{number}"}
        described = {"modality": "CT", "series_description": "Hip 1.0 mm", "body_part": "HIP"} | header
        ledger.instances.record(
            Arrival(
                header=Header(**uids, sop_class_uid="1.2.840.10008.5.1.4.1.1.2", **described),
                transfer_syntax="1.2.840.10008.1.2.1",
                key=f"inbox/{number}.dcm",
                sha256=f"{number:064d}",
                size=1000,
                association=association(calling_ae, "10.0.0.9"),
            )
        )
        return ledger.queries.jobs(search=series_uid)[0].id

    return one


@pytest.fixture
def finish(ledger, settings):
    """Take a received job to its results: a picture, a report and a DICOM object, to be sent to `pacs`."""

    def whole(job_id):
        ledger.decisions.apply(job_id, Decision(JobState.COMPLETE))
        ledger.decisions.apply(job_id, Decision(JobState.QUEUED, destinations=("pacs",)))
        assert ledger.queue.claim(job_id, "worker@host", 30)
        folder = settings.data / "results" / job_id
        folder.mkdir(parents=True)
        made = []
        for kind, name, sop in (
            ("picture", "overlay.png", ""),
            ("report", "report.json", ""),
            ("seg", "seg.dcm", "1.9"),
        ):
            (folder / name).write_bytes(b"content of " + name.encode())
            made.append(Result(kind, f"results/{job_id}/{name}", "ab" * 32, 12345, "1.2.840.1" if sop else "", sop))
        assert finish_job(ledger, job_id, "worker@host", made, {"timings": {"read": 0.5, "segment": 7.25}})
        return folder

    return whole


def test_the_empty_page_says_how_to_send_the_first_study(client):
    page = client.get("/").text
    assert "No study has arrived yet" in page
    assert "qct-node send FOLDER --to 10.1.2.3:11112 --aet HIPNODE" in page
    assert "storescu -aec HIPNODE +sd +r 10.1.2.3 11112 FOLDER" in page


def test_a_study_shows_from_its_first_slice(client, receive, clock):
    receive(1)
    clock.pass_(75)
    page = client.get("/").text
    assert "Received" in page
    assert "1 min 15 s ago" in page
    assert "CT · HIP · Hip 1.0 mm" in page
    assert "from CT1 (10.0.0.9)" in page
    assert SERIES in page
    assert "No study has arrived yet" not in page


def test_the_reason_for_waiting_is_shown(client, ledger, receive):
    job_id = receive(1)
    ledger.decisions.apply(job_id, Decision(JobState.RECEIVED, reason="waiting: the association is still open"))
    for address in ("/", f"/jobs/{job_id}"):
        assert "waiting: the association is still open" in client.get(address).text


def test_script_in_a_description_is_text(client, receive):
    evil = "<script>alert(1)</script>"
    job_id = receive(1, series_description=evil, study_description='"><img src=x onerror=alert(2)>', body_part="<b>")
    for address in ("/", f"/jobs/{job_id}", "/?q=%3Cscript%3E", "/?q=1.2.826"):
        page = client.get(address).text
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert "<b>" not in page.replace("<b>1</b>", "").replace("<b>0</b>", "")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in client.get("/").text


def test_the_reason_of_a_refusal_without_a_series_is_shown(client, ledger):
    empty = Refusal("SCANNER", "10.0.0.7", "empty-association", "the association carried no object")
    ledger.decisions.record_refusal(empty)
    page = client.get("/").text
    assert "Declined" in page
    assert "the association carried no object" in page
    assert "belongs to no series" in page


def test_counts_and_filter_by_state(client, ledger, receive):
    declined = receive(1, series_uid="1.2.3.1")
    ledger.decisions.apply(declined, Decision(JobState.DECLINED, "not-ct", "it is an MR series"))
    waiting = receive(1, series_uid="1.2.3.2")
    page = client.get("/").text
    assert "All <b>2</b>" in page
    assert "Declined <b>1</b>" in page
    assert "Running" not in page
    only = client.get("/?state=declined").text
    assert f'data-job="{declined}"' in only
    assert f'data-job="{waiting}"' not in only
    assert "No series is in the state “failed”" in client.get("/?state=failed").text


def test_an_unknown_state_is_named_with_the_known_ones(client):
    answer = client.get("/?state=flying")
    assert answer.status_code == 400
    assert "Unknown state; the states are: received, complete" in answer.text


@pytest.mark.parametrize("search", ["1.2.826.0.1.55.9", "1.2.826.0.1.55", "ACC-7"])
def test_search_by_uid_and_accession(client, receive, search):
    wanted = receive(1, series_uid="1.2.826.0.1.55.9", accession="ACC-7")
    other = receive(1, series_uid="1.2.826.0.1.56", accession="ACC-8")
    page = client.get("/", params={"q": search}).text
    assert f'data-job="{wanted}"' in page
    assert f'data-job="{other}"' not in page


def test_a_search_is_kept_when_the_state_is_chosen(client, receive):
    receive(1)
    page = client.get("/", params={"q": "1.2&x"}).text
    assert 'href="/?state=received&amp;q=1.2%26x"' in page


def test_a_running_job_names_worker_and_stage(client, ledger, receive, clock):
    job_id = receive(1)
    ledger.decisions.apply(job_id, Decision(JobState.COMPLETE))
    ledger.decisions.apply(job_id, Decision(JobState.QUEUED, destinations=("pacs", "archive")))
    assert "to pacs, archive" in client.get("/").text
    ledger.queue.claim(job_id, "worker-a@gpu1", 30)
    ledger.queue.extend_lease(job_id, "worker-a@gpu1", 30, "segment")
    clock.pass_(4)
    page = client.get("/").text
    assert "segment, 4 s" in page
    assert "worker-a@gpu1" in page


def test_results_and_deliveries_are_shown(client, receive, finish):
    job_id = receive(1)
    folder = finish(job_id)
    page = client.get(f"/jobs/{job_id}").text
    assert f'src="/jobs/{job_id}/overlay.png"' in page
    assert str(folder / "seg.dcm") in page
    assert "7.25" in page
    assert "12.3 kB" in page
    assert "pacs" in page
    assert "claimed by worker@host" in page
    assert "pacs: " in client.get("/").text


def test_pictures_and_reports_are_served_but_no_dicom_objects(client, receive, finish):
    job_id = receive(1)
    finish(job_id)
    picture = client.get(f"/jobs/{job_id}/overlay.png")
    assert (picture.status_code, picture.headers["content-type"]) == (200, "image/png")
    assert picture.content == b"content of overlay.png"
    assert client.get(f"/jobs/{job_id}/report.json").content == b"content of report.json"
    assert client.get(f"/jobs/{job_id}/seg.dcm").status_code == 404


@pytest.mark.parametrize("name", ["..%2F..%2Fsecret.png", "%2e%2e/%2e%2e/secret.png", "secret.png", "..%5Csecret.png"])
def test_only_files_the_ledger_names_are_served(client, receive, finish, settings, name):
    job_id = receive(1)
    folder = finish(job_id)
    for place in (folder, settings.data, folder.parent):
        (place / "secret.png").write_bytes(b"secret")
    answer = client.get(f"/jobs/{job_id}/{name}")
    assert answer.status_code == 404
    assert b"secret" not in answer.content.replace(b"secret.png", b"")


def test_a_result_that_is_gone_is_404(client, receive, finish):
    job_id = receive(1)
    folder = finish(job_id)
    (folder / "overlay.png").unlink()
    assert client.get(f"/jobs/{job_id}/overlay.png").status_code == 404
    assert "<img" not in client.get(f"/jobs/{job_id}").text


def test_json_is_the_ledgers_own_form(client, ledger, receive, finish):
    job_id = receive(1)
    finish(job_id)
    (row,) = client.get("/api/jobs").json()
    assert row == json.loads(json.dumps(ledger.queries.job(job_id).to_dict(ledger.data)))
    assert {"id", "state", "reason", "study_uid", "series_uid", "received_at", "attempts", "outputs"} <= set(row)
    one = client.get(f"/api/jobs/{job_id}").json()
    assert [event["state"] for event in one.pop("events")][-1] == "delivering"
    assert one == row


def test_json_can_be_filtered(client, receive):
    receive(1, series_uid="1.2.3.1")
    receive(1, series_uid="1.2.3.2")
    assert len(client.get("/api/jobs").json()) == 2
    assert [row["series_uid"] for row in client.get("/api/jobs?q=1.2.3.2").json()] == ["1.2.3.2"]
    assert client.get("/api/jobs?state=failed").json() == []


def test_an_unknown_job_is_404_as_page_and_as_json(client):
    page = client.get("/jobs/NOSUCH")
    assert page.status_code == 404
    assert "There is no job NOSUCH" in page.text
    answer = client.get("/api/jobs/NOSUCH")
    assert answer.status_code == 404
    assert answer.json() == {"error": "there is no job NOSUCH"}


def test_a_job_whose_files_were_removed_keeps_its_page_without_them(client, ledger, receive, finish, clock):
    job_id = receive(1)
    finish(job_id)
    for delivery_id in ledger.outbox.due(0):
        ledger.outbox.claim(delivery_id, "me", 60)
        ledger.outbox.delivered(delivery_id, "me")
    clock.pass_(31 * 86400)
    ledger.associations.end_lost([])
    RetentionStage(ledger, Retention(delivered_days=30)).tick()
    page = client.get(f"/jobs/{job_id}").text
    assert "Files removed" in page and "its files were removed 31 days after delivery" in page
    assert "overlay.png" not in page
    assert "picture (removed)" in client.get("/").text
    answer = client.get(f"/jobs/{job_id}/overlay.png")
    assert (answer.status_code, f"The files of job {job_id} were removed on 2026-04-01" in answer.text) == (404, True)
    assert client.get(f"/api/jobs/{job_id}").json()["removed_at"] == "2026-04-01T12:00:00.000Z"


def test_healthz_names_what_has_never_reported(client):
    answer = client.get("/healthz")
    assert answer.status_code == 503
    assert "the receiver has never reported" in answer.json()["stale"]


def test_healthz_is_ok_with_all_parts_and_stale_without_one(client, ledger, clock):
    for part in PARTS:
        ledger.processes.report(f"{part}@host:1", part, "host", 1)
    assert client.get("/healthz").status_code == 200
    assert "Healthy" in client.get("/").text
    clock.pass_(60)
    for part in PARTS[1:]:
        ledger.processes.report(f"{part}@host:1", part, "host", 1)
    answer = client.get("/healthz")
    assert answer.status_code == 503
    assert answer.json()["stale"] == ["the receiver has not reported for 60 s"]
    assert [row["fresh"] for row in answer.json()["processes"] if row["kind"] == "scp"] == [False]
    assert "Not healthy: the receiver has not reported for 60 s" in client.get("/").text


@pytest.mark.parametrize(
    ("mark", "code", "shown"),
    [("warn_free_mb", 200, "Healthy, with warnings: "), ("min_free_mb", 503, "Not healthy: only ")],
)
def test_a_disk_that_fills_is_shown_by_healthz_and_the_page(tmp_path, ledger, mark, code, shown):
    settings = load_settings(None, node={"data": tmp_path}, intake={mark: 10**9})
    for part in PARTS:
        ledger.processes.report(f"{part}@host:1", part, "host", 1)
    with TestClient(make_app(settings, ledger), base_url=LOCAL) as browser:
        answer = browser.get("/healthz")
        assert answer.status_code == code
        assert f"below {mark} = 1000000000" in answer.json()["warnings" if code == 200 else "stale"][0]
        assert shown in browser.get("/").text


def test_a_dead_process_beside_a_living_one_of_its_kind_is_no_fault(client, ledger, clock):
    ledger.processes.report("worker-segment@old:7", "worker-segment", "old", 7)
    clock.pass_(3600)
    for part in PARTS:
        ledger.processes.report(f"{part}@host:1", part, "host", 1)
    assert client.get("/healthz").status_code == 200


def test_a_broken_ledger_is_503_with_a_sentence(client, settings):
    with closing(sqlite3.connect(settings.data / "ledger.sqlite3")) as database:
        database.execute("DROP TABLE processes")
    answer = client.get("/healthz")
    assert answer.status_code == 503
    assert answer.json()["stale"] == ["the ledger does not answer: no such table: processes"]
    assert client.get("/").status_code == 503


def test_every_answer_carries_the_security_headers(client, receive):
    receive(1)
    for address in ("/", "/api/jobs", "/healthz", "/static/page.css", "/jobs/NOSUCH", "/nowhere"):
        answer = client.get(address)
        assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
    assert "'unsafe-inline'" not in HEADERS["Content-Security-Policy"]


def test_pages_hold_nothing_the_content_policy_forbids(client, receive, finish):
    job_id = receive(1)
    finish(job_id)
    for address in ("/", f"/jobs/{job_id}"):
        page = client.get(address).text
        assert "style=" not in page
        assert " on" + "click" not in page
        assert "//" not in page.replace("<!doctype html>", "").replace("http-equiv", "")
        assert page.count("<script") == 1


def test_nothing_can_be_changed(client, receive):
    job_id = receive(1)
    for address in ("/", f"/jobs/{job_id}", f"/api/jobs/{job_id}"):
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            assert client.request(method, address).status_code == 405
