"""The commands `send`, `echo` and `check` against a real node."""

import json

import pytest

from node.cli import main
from node.scu.storage import send_files


@pytest.fixture
def run(capsys):
    """Run the command line; return exit code, stdout, stderr."""

    def call(*arguments):
        try:
            main([str(argument) for argument in arguments])
            code = 0
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def address(node):
    return f"127.0.0.1:{node.receiver.port}"


def test_send_sends_a_folder_and_skips_files_that_are_not_dicom(node, address, ct_series, run):
    folder = ct_series(6)[0].parent
    (folder / "notes.txt").write_text("no DICOM")
    (folder / "deeper").mkdir()
    (folder / "000.dcm").rename(folder / "deeper/any name")
    code, out, err = run("send", folder, "--to", address, "--aet", "QCTNODE")
    assert (code, out) == (0, "6 of 6 files stored at QCTNODE\n")
    assert err.splitlines()[-1] == "6 of 6"
    assert (node.only_job().instances, node.only_job().calling_ae) == (6, "QCTNODE")


def test_send_takes_one_file_and_another_calling_title(node, address, ct_series, run):
    assert run("send", ct_series(1)[0], "--to", address, "--aet", "QCTNODE", "--from", "CT1")[0] == 0
    assert node.only_job().calling_ae == "CT1"


def test_send_names_the_reasons_for_files_not_stored(node, address, ct_series, run):
    files = ct_series(3)
    files[0].write_bytes(files[0].read_bytes()[:-100])
    code, out, err = run("send", files[0].parent, "--to", address, "--aet", "QCTNODE")
    assert (code, out) == (1, "2 of 3 files stored at QCTNODE\n")
    assert "1 not stored: " in err and "0xC000: it does not accept this object" in err
    assert "object is broken" not in err  # a peer's comment may quote the patient


def test_send_without_a_receiver_or_without_files(run, ct_series, free_port, tmp_path):
    port = free_port()
    code, _, err = run("send", ct_series(1)[0].parent, "--to", f"127.0.0.1:{port}", "--aet", "X")
    assert (code, err) == (1, f"target (X at 127.0.0.1:{port}) refuses the connection: nothing listens there\n")
    (tmp_path / "empty").mkdir()
    code, _, err = run("send", tmp_path / "empty", "--to", f"127.0.0.1:{port}", "--aet", "X")
    assert code == 1 and "there is no DICOM file" in err


@pytest.mark.parametrize("address", ["127.0.0.1", ":104", "127.0.0.1:0", "127.0.0.1:dicom"])
def test_send_requires_host_and_port(run, ct_series, address):
    assert run("send", ct_series(1)[0], "--to", address, "--aet", "X")[0] == 2


def test_echo_by_address_and_by_name(node, address, run, tmp_path):
    code, out, _ = run("echo", address, "--aet", "QCTNODE")
    assert code == 0 and out.startswith(f"QCTNODE at {address} answers")
    config = tmp_path / "site.toml"
    config.write_text(
        f'[[peers]]\nname = "node"\nae_title = "QCTNODE"\nhost = "127.0.0.1"\nport = {node.receiver.port}\n'
    )
    assert run("--config", config, "echo", "node")[0] == 0
    code, _, err = run("--config", config, "echo", "pacs")
    assert (code, err) == (1, "the settings have no peer pacs (peers: node); to address HOST:PORT, add --aet\n")


def test_an_invalid_host_name_is_one_sentence(run, tmp_path):
    said = "(X at pacs..example:104) cannot be reached: its host name is not valid"
    code, _, err = run("echo", "pacs..example:104", "--aet", "X")
    assert (code, err) == (1, f"target {said}\n")
    config = tmp_path / "site.toml"
    config.write_text('[[peers]]\nname = "pacs"\nae_title = "X"\nhost = "pacs..example"\nport = 104\n')
    code, out, _ = run("--config", config, "check")
    assert code == 1 and f"ERROR peer pacs: pacs {said}\n" in out


def test_check_asks_every_peer(node, run, tmp_path, free_port):
    peers = "".join(
        f'[[peers]]\nname = "{name}"\nae_title = "QCTNODE"\nhost = "127.0.0.1"\nport = {port}\n'
        for name, port in (("here", node.receiver.port), ("away", free_port()))
    )
    config = tmp_path / "site.toml"
    config.write_text(peers)
    code, out, _ = run("--config", config, "check", "--json")
    found = {finding["name"]: finding for finding in json.loads(out)["checks"]}
    assert code == 1
    assert found["peer here"]["ok"]
    assert not found["peer away"]["ok"] and "nothing listens there" in found["peer away"]["detail"]


def test_more_sop_classes_than_one_association_has_contexts(node, ct_series):
    """130 SOP classes need more than the 128 contexts of an association."""
    from pynetdicom import AllStoragePresentationContexts

    classes = [context.abstract_syntax for context in AllStoragePresentationContexts][:130]

    def as_class(index, dataset):
        dataset.SOPClassUID = classes[index]

    outcomes = send_files(node.peer, ct_series(len(classes), as_class), "SCANNER")
    assert [sent.reason for sent in outcomes if not sent.ok] == []
    assert node.only_job().instances == len(classes)
