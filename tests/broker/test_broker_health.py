"""A Redis that is down, frozen, full, cannot save, or has a new password: told, and a job says so while it waits."""

import contextlib
import os
import signal
import time
from contextlib import closing
from pathlib import Path

import pytest
import redis
from ledger_steps import delivering_job, only_job, queued_job
from starlette.testclient import TestClient

from node.cli import main
from node.dispatch.broker_health import FRESH_SECONDS, BrokerWatch, broker_fault
from node.dispatch.celery_app import make_app as make_celery_app
from node.dispatch.dispatcher import Dispatcher
from node.ledger import Ledger
from node.records.states import Reason
from node.settings.settings import load_settings
from node.supervise.supervisor import WAITS_FOR_BROKER, Supervisor
from node.web.app import make_app


@pytest.fixture
def settings(tmp_path, redis_server):
    return load_settings(None, node={"data": tmp_path / "data", "broker_url": redis_server.url})


@pytest.fixture
def ledger(settings):
    with closing(Ledger.of(settings)) as opened:
        yield opened


def down(server):
    server.kill()


def frozen(server):
    os.kill(server.pid, signal.SIGSTOP)


def full(server):
    with redis.Redis.from_url(server.url) as client:
        client.config_set("maxmemory", 1)


def replica(server):
    with redis.Redis.from_url(server.url) as client:
        client.replicaof("127.0.0.1", 1)


def unsaved(server):
    with redis.Redis.from_url(server.url) as client:
        (Path(client.config_get("dir")["dir"]) / "dump.rdb" / "in the way").mkdir(parents=True)
        client.config_set("save", "1 1")
        client.set("x", 1)
        with contextlib.suppress(redis.ResponseError):
            client.bgsave()
        while client.info("persistence")["rdb_last_bgsave_status"] == "ok":
            time.sleep(0.05)


def password(server):
    with redis.Redis.from_url(server.url) as client:
        client.config_set("requirepass", "new-secret")


HARMS = [
    (down, "cannot be reached (ConnectionError)"),
    (frozen, "does not answer within 1 s"),
    (full, "takes no messages: its memory is full"),
    (replica, "takes no messages: it is a read-only replica"),
    (unsaved, "takes no messages: it cannot save to its disk"),
    (password, "refuses user or password"),
]


@pytest.mark.parametrize(("harm", "words"), HARMS)
def test_what_is_wrong_with_the_broker_is_said_within_seconds(settings, redis_server, harm, words):
    assert broker_fault(settings) == ""
    harm(redis_server)
    began = time.monotonic()
    fault = broker_fault(settings)
    assert time.monotonic() - began < 5
    assert words in fault and "nothing is lost" in fault and "secret" not in fault


def test_the_embedded_broker_needs_no_server(tmp_path):
    assert broker_fault(load_settings(None, node={"data": tmp_path})) == ""


def test_a_dead_broker_is_asked_only_every_few_seconds(settings, redis_server):
    time_now = [100.0]
    watch = BrokerWatch(settings, lambda: time_now[0])
    assert watch.fault() == ""
    redis_server.kill()
    assert watch.fault() == ""
    time_now[0] += FRESH_SECONDS
    assert "cannot be reached" in watch.fault()


def test_page_status_and_check_tell_that_the_broker_is_away(settings, ledger, redis_server, tmp_path, capsys):
    (tmp_path / "s.toml").write_text(f'[node]\ndata = "{settings.data}"\nbroker_url = "{redis_server.url}"\n')
    redis_server.kill()
    with TestClient(make_app(settings, ledger), base_url="http://localhost") as browser:
        answer = browser.get("/healthz")
    assert answer.status_code == 503
    assert any("the broker (Redis) cannot be reached" in sentence for sentence in answer.json()["stale"])
    for command in ("status", "check"):
        with pytest.raises(SystemExit) as stop:
            main(["--config", str(tmp_path / "s.toml"), command])
        told = capsys.readouterr()
        assert stop.value.code == 1
        assert "the broker (Redis) cannot be reached" in told.out + told.err


def test_a_job_says_that_it_waits_for_the_broker_and_goes_on_when_it_is_back(settings, ledger, redis_server):
    queued, delivering = queued_job(ledger, series="1.2.4"), delivering_job(ledger)
    supervisor = Supervisor(ledger, settings, Dispatcher(make_celery_app(settings), pause=0.0))
    redis_server.kill()
    supervisor.tick()
    for job_id in (queued, delivering):
        job = ledger.queries.job(job_id)
        assert (job.reason, job.code) == (WAITS_FOR_BROKER, Reason.BROKER_DOWN)
    redis_server.start()
    supervisor.tick()
    assert {(job.reason, job.code) for job in ledger.queries.jobs()} == {("", "")}


def test_a_job_that_has_a_reason_keeps_it(ledger):
    job_id = queued_job(ledger)
    assert ledger.queue.claim(job_id, "w", -1)
    ledger.queue.reap_expired(3)
    ledger.broker_waits.explain(WAITS_FOR_BROKER)
    ledger.broker_waits.clear(WAITS_FOR_BROKER)
    assert (only_job(ledger).code, only_job(ledger).reason) == (Reason.WORKER_DIED, "its worker w no longer reports")
