"""`qct-node up`: the ready line, a clean stop, one node per folder, ports in use, killed parts."""

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import raw_caller as raw
import sql

from node.errors import PeerError
from node.run.processes import reserve_port
from node.scu.requestor import echo
from node.settings.routing import Peer

UP = ("-m", "node", "up", "--dicom-port", "0", "--http-port", "0", "--data")


@pytest.fixture
def up(free_port, tmp_path):
    """The command of a node on ports that stay its own when it is stopped."""
    ports = ("--dicom-port", str(free_port()), "--http-port", str(free_port()))
    return "-m", "node", "up", *ports, "--data", str(tmp_path / "data")


@pytest.fixture
def node(start_node, up):
    return start_node(*up).ready()


def refused(start_node, *command: str) -> str:
    """Run a command that must fail with exit code 1; return its last line on stderr."""
    failing = start_node(*command)
    assert failing.process.wait(120) == 1
    return failing.log.read_text().splitlines()[-1]


def test_every_part_answers_after_the_ready_line(start_node, tmp_path):
    (tmp_path / "node").mkdir()
    (tmp_path / "node" / "__init__.py").write_text("raise SystemExit('a stranger')")
    node = start_node("-P", *UP, str(tmp_path / "data")).ready()
    echo(Peer(name="it", ae_title="QCTNODE", host="127.0.0.1", port=node.dicom_port), "TEST")
    assert node.get("/healthz")["status"] == "ok"
    assert node.get("/api/jobs") == []
    assert "listening on 127.0.0.1" in (tmp_path / "data" / "logs" / "node.log").read_text()


def test_a_web_proxy_in_the_environment_is_not_used_for_the_own_page(start_node, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # nothing listens there
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert start_node(*UP, str(tmp_path / "data")).ready().stop() == (0, "")


def test_the_files_of_the_node_are_readable_by_its_user_only(start_node, tmp_path):
    data = tmp_path / "data"
    before = os.umask(0o022)
    try:
        node = start_node(*UP, str(data)).ready()
    finally:
        os.umask(before)
    modes = {str(path.relative_to(data)): path.stat().st_mode & 0o777 for path in (data, *data.rglob("*"))}
    assert {"ledger.sqlite3", "logs/node.log"} <= modes.keys()
    assert {name: oct(mode) for name, mode in modes.items() if mode & 0o077} == {}
    for pid in node.descendants():  # including the process that writes results
        assert "Umask:\t0077" in Path(f"/proc/{pid}/status").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_is_clean_and_complete(node, number, poll):
    descendants = node.descendants()
    assert len(descendants) >= 6
    assert node.stop(number) == (0, "")
    poll(lambda: not node.running(descendants), what="the end of all parts")
    assert "Traceback" not in node.log.read_text()
    for port in (node.dicom_port, int(node.web.rpartition(":")[2])):
        reserve_port("127.0.0.1", port, "it").close()


def test_a_killed_node_leaves_no_process_and_can_restart_at_once(node, start_node, up, poll):
    descendants = node.descendants()
    node.process.kill()
    node.process.wait()
    poll(lambda: not node.running(descendants), what="the end of all parts")
    again = start_node(*up).ready()
    assert (again.dicom_port, again.web) == (node.dicom_port, node.web)


def test_second_node_on_the_same_folder_is_refused(node, start_node, tmp_path):
    said = refused(start_node, *UP, str(tmp_path / "data"))
    assert f"Another node (process {node.process.pid}) already uses {tmp_path / 'data'}" in said
    assert node.get("/healthz")["status"] == "ok"


@pytest.mark.parametrize(("option", "what"), [("--dicom-port", "DICOM"), ("--http-port", "web page")])
def test_a_port_in_use_is_one_sentence(start_node, tmp_path, option, what):
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = refused(start_node, *UP, str(tmp_path / "data"), option, str(port))
    assert said == f"{what}: cannot listen on 127.0.0.1:{port} (Address already in use)."


def test_a_part_that_cannot_start_stops_the_node_and_is_named(start_node, tmp_path):
    (tmp_path / "qct-node.toml").write_text('[node]\nbroker_url = "nonsense://x"\n')
    said = refused(start_node, *UP, str(tmp_path / "data"))
    assert re.fullmatch(r"the part `(supervise|segment|deliver)` ended 3 times while starting; its log is above", said)


def test_invalid_settings_are_refused_before_anything_starts(start_node, tmp_path):
    (tmp_path / "qct-node.toml").write_text("[node]\nae_title = 'MUCH TOO LONG A TITLE'\n")
    assert "ae_title" in refused(start_node, *UP, str(tmp_path / "data"))
    assert not (tmp_path / "data").exists()


def test_killed_parts_are_restarted(node, poll):
    before = node.descendants()
    commands = {pid: Path(f"/proc/{pid}/cmdline").read_text() for pid in before}
    serve = next(pid for pid, command in commands.items() if "\0serve\0" in command)
    web = next(pid for pid, command in commands.items() if command.endswith("web\0"))
    for pid in (serve, web):
        os.kill(pid, signal.SIGKILL)
    poll(lambda: healthy(node), what="a healthy node")
    poll(lambda: answers(node), what="an answer to C-ECHO")
    assert not {serve, web} & node.descendants()


def test_a_connection_made_while_the_receiver_is_down_waits_and_is_served(node):
    """The listening socket belongs to `up`: a scanner sees a pause, not a refused connection."""
    commands = {pid: Path(f"/proc/{pid}/cmdline").read_text() for pid in node.descendants()}
    receivers = [pid for pid, command in commands.items() if "\0serve\0" in command or "\0receive\0" in command]
    assert len(receivers) >= 2
    for pid in receivers:
        os.kill(pid, signal.SIGKILL)
    with raw.Caller(node.dicom_port, patience=120).established() as caller:
        caller.send(raw.echo())
        assert caller.answer().Status == 0
        assert not set(receivers) & node.descendants()


def test_a_node_that_listens_on_all_addresses_of_ipv6_becomes_ready(start_node, tmp_path):
    (tmp_path / "qct-node.toml").write_text('[node]\nhttp_host = "::"\ndicom_host = "::"\n')
    node = start_node(*UP, str(tmp_path / "data")).ready()
    for host in ("127.0.0.1", "[::1]"):
        node.web = f"http://{host}:{node.web.rpartition(':')[2]}"
        assert node.get("/healthz")["status"] == "ok"
    for host in ("127.0.0.1", "::1"):
        echo(Peer(name="it", ae_title="QCTNODE", host=host, port=node.dicom_port), "TEST")
    assert node.stop() == (0, "")


def healthy(node) -> bool:
    try:
        return node.get("/healthz")["status"] == "ok"
    except OSError:
        return False


def answers(node) -> bool:
    try:
        echo(Peer(name="it", ae_title="QCTNODE", host="127.0.0.1", port=node.dicom_port), "TEST")
    except PeerError:
        return False
    return True


@pytest.mark.parametrize("part", ["serve", "supervise", "web"])
def test_part_runs_alone_in_the_foreground_and_stops_cleanly(start_node, tmp_path, part, poll):
    (tmp_path / "qct-node.toml").write_text("[node]\ndicom_port = 0\nhttp_port = 0\ndata = 'data'\n")
    alone = start_node("-m", "node", part)
    kind = {"serve": "scp", "supervise": "supervisor", "web": "web"}[part]
    listing = [sys.executable, "-m", "node", "status", "--json"]
    poll(lambda: kind in subprocess.run(listing, cwd=tmp_path, capture_output=True, check=False).stdout.decode())
    assert alone.stop() == (0, "")


def reported(data: Path) -> bool:
    try:
        return bool(sql.ask(data, "SELECT name FROM processes WHERE kind = 'web'"))
    except sqlite3.OperationalError:  # not created yet
        return False


def test_the_page_stops_also_while_it_is_starting(start_node, tmp_path, poll):
    """It reports itself before it has loaded the web server, so SIGTERM comes before the server listens for it."""
    (tmp_path / "qct-node.toml").write_text("[node]\nhttp_port = 0\ndata = 'data'\n")
    page = start_node("-m", "node", "web")
    poll(lambda: reported(tmp_path / "data"))
    assert page.stop() == (0, "")
