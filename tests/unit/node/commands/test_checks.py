"""`qct-node check` on settings and machines with faults, and commands on a data folder that cannot be used."""

import socket

import pytest

from node.cli import main
from node.commands.checks import findings
from node.ledger import Ledger
from node.settings.settings import load_settings


def peer(name, ae_title="PACS", host="127.0.0.1"):
    return {"name": name, "ae_title": ae_title, "host": host, "port": 1}


@pytest.fixture
def check(tmp_path, monkeypatch):
    monkeypatch.setattr("node.commands.checks._echo", lambda peer, title: "answers C-ECHO")

    def call(**sections):
        node = {"data": tmp_path / "data", "dicom_port": 0, "http_port": 0} | sections.pop("node", {})
        found = findings(load_settings(None, node=node, **sections))
        return {finding.name: (finding.word.strip(), finding.detail) for finding in found}

    return call


def test_a_good_configuration_has_no_fault(check, tmp_path):
    found = check(peers=[peer("pacs"), peer("ct", "SCANNER")])
    assert {word for word, _ in found.values()} <= {"ok", "warn"}
    assert list(found)[:5] == ["data folder", "ledger", "DICOM port", "web port", "broker"]
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(("key", "name"), [("dicom_port", "DICOM port"), ("http_port", "web port")])
def test_a_port_that_another_program_uses_is_named(check, key, name):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        word, detail = check(node={key: port})[name]
    assert word == "ERROR" and f"cannot listen on 127.0.0.1:{port} (Address already in use)" in detail


def test_the_ports_of_the_running_node_are_its_own(check, tmp_path):
    settings = load_settings(None, node={"data": tmp_path / "data"})
    ledger = Ledger.of(settings)
    for kind in ("scp", "web"):
        ledger.processes.report(f"{kind}@here:1", kind, "here", 1)
    ledger.close()
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert check(node={"dicom_port": other.getsockname()[1]})["DICOM port"][0] == "ok"


@pytest.mark.parametrize(
    ("peers", "word", "words"),
    [
        ([peer("pacs", "QCTNODE")], "ERROR", "pacs has the node's own AE title QCTNODE"),
        ([peer("a"), peer("b")], "ERROR", "a, b have the same AE title PACS at the same address"),
        ([peer("a"), peer("b", host="10.0.0.2")], "warn", "only their addresses tell them apart"),
    ],
)
def test_ae_titles_that_do_not_tell_apart_are_named(check, peers, word, words):
    found = check(peers=peers)["AE titles"]
    assert found[0] == word and words in found[1]


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    def call(*arguments, data=tmp_path / "data"):
        monkeypatch.setenv("QCT_NODE_NODE__DATA", str(data))
        with pytest.raises(SystemExit) as stop:
            main(list(arguments))
        return stop.value.code, capsys.readouterr().err

    return call


@pytest.mark.parametrize("command", [("up",), ("serve",), ("supervise",), ("web",)])
@pytest.mark.parametrize("place", ["read-only", "file"])
def test_a_data_folder_that_cannot_be_used_is_one_sentence(run, tmp_path, command, place):
    folder = tmp_path / place
    if place == "file":
        folder.write_text("")
        words = f"cannot be made: {folder} is not a folder"
    else:
        folder.mkdir(mode=0o500)
        words = f"may not write to {folder}, which belongs to"
    code, err = run(*command, data=folder / "data")
    assert code == 1
    assert words in err and "Traceback" not in err
