import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from node.errors import SettingsError
from node.settings.settings import load_settings


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def written(tmp_path, text):
    path = tmp_path / "site" / "node.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def faults(*args, **overrides):
    with pytest.raises(SettingsError) as failure:
        load_settings(*args, **overrides)
    return failure.value.faults


def test_defaults_are_those_of_the_contract(tmp_path):
    settings = load_settings()
    assert (settings.node.ae_title, settings.node.dicom_host, settings.node.dicom_port) == (
        "QCTNODE",
        "127.0.0.1",
        11112,
    )
    assert (settings.node.http_host, settings.node.http_port) == ("127.0.0.1", 8080)
    assert (settings.node.broker_url, settings.intake.quiet_seconds) == ("embedded", 10)
    assert settings.accepts_unknown_peers is True
    assert settings.data == tmp_path / "qct-data"
    assert settings.database_url == f"sqlite:///{tmp_path}/qct-data/ledger.sqlite3"


def test_the_file_in_the_current_folder_is_found(tmp_path):
    (tmp_path / "qct-node.toml").write_text('[node]\nae_title = "HERE"\n')
    assert load_settings().node.ae_title == "HERE"


def test_peers_and_routes(tmp_path):
    path = written(
        tmp_path,
        """
        [[peers]]
        name = "pacs"
        ae_title = "ORTHANC "
        host = "10.0.0.3"
        port = 4242
        [[routes]]
        name = "qct"
        destinations = ["pacs"]
        """,
    )
    settings = load_settings(path)
    assert settings.peer("pacs").ae_title == "ORTHANC"
    assert settings.peer("nobody") is None
    assert settings.routes[0].destinations == ("pacs",)


def test_command_line_over_environment_over_file(tmp_path, monkeypatch):
    path = written(tmp_path, "[node]\nae_title = 'FILE'\ndicom_port = 1\nhttp_port = 1\n")
    monkeypatch.setenv("QCT_NODE_NODE__DICOM_PORT", "2")
    monkeypatch.setenv("QCT_NODE_NODE__HTTP_PORT", "2")
    node = load_settings(path, node={"http_port": 3}).node
    assert (node.ae_title, node.dicom_port, node.http_port) == ("FILE", 2, 3)


def test_peers_from_the_environment(monkeypatch):
    monkeypatch.setenv("QCT_NODE_PEERS", '[{"name": "a", "ae_title": "A", "host": "h", "port": 104}]')
    assert load_settings().peer_names == ("a",)


def test_relative_data_is_relative_to_the_file(tmp_path, monkeypatch):
    path = written(tmp_path, "[node]\ndata = './store'\n")
    assert load_settings(path).data == path.parent / "store"
    monkeypatch.setenv("QCT_NODE_NODE__DATA", "/elsewhere")
    assert load_settings(path).data == Path("/elsewhere")


def test_a_relative_calibration_file_is_relative_to_the_settings(tmp_path):
    path = written(tmp_path, "[segmenter]\ncalibration = 'phantoms.toml'\n")
    assert load_settings(path).segmenter.calibration == str(path.parent / "phantoms.toml")
    assert load_settings(written(tmp_path, "[segmenter]\n")).segmenter.calibration == ""


def test_all_faults_are_reported_at_once_with_key_value_and_rule(tmp_path, monkeypatch):
    path = written(
        tmp_path,
        """
        [node]
        ae_title = "SEVENTEEN_LETTERS"
        dicom_port = 70000
        colour = "blue"
        [jobs]
        lease_seconds = 5
        [[peers]]
        name = "pacs"
        ae_title = "P"
        host = "h"
        port = 4242
        [[routes]]
        name = "qct"
        destinations = ["pax"]
        """,
    )
    monkeypatch.setenv("QCT_NODE_INTAKE__QUIET_SECONDS", "-1")
    found = "\n".join(faults(path))
    assert len(faults(path)) == 6
    assert "node.ae_title = 'SEVENTEEN_LETTERS': an AE title has 1 to 16 characters, not 17" in found
    assert "node.dicom_port = 70000: " in found
    assert "node.colour = 'blue': there is no such setting" in found
    assert "intake.quiet_seconds = '-1': " in found
    assert "jobs: lease_seconds must be at least twice heartbeat_seconds" in found
    assert "routes: qct sends to pax, but the peers are: pacs" in found


@pytest.mark.parametrize("title", ["", "   ", "A\\B", "TAB\tHERE", "MÜNCHEN"])
def test_titles_that_dicom_forbids(title):
    assert faults(node={"ae_title": title})[0].startswith("node.ae_title")


def test_two_peers_of_one_name():
    peer = {"name": "pacs", "ae_title": "P", "host": "h", "port": 104}
    assert "several are called pacs" in faults(peers=[peer, peer])[0]


def test_the_peer_that_knows_the_count_must_be_one():
    peer = {"name": "pacs", "ae_title": "P", "host": "h", "port": 104}
    assert faults(intake={"expect_peer": "pax"}, peers=[peer]) == [
        "peers: intake.expect_peer is pax, but the peers are: pacs"
    ]
    assert load_settings(intake={"expect_peer": "pacs"}, peers=[peer]).intake.expect_peer == "pacs"


def test_limits_in_the_wrong_order():
    found = faults(jobs={"soft_time_limit": 900})
    assert found == ["jobs: soft_time_limit must be below hard_time_limit"]


def test_passwords_are_not_shown():
    [found] = faults(node={"database_url": "mysql://qct:secret@db/qct"})
    assert "secret" not in found and "mysql" in found


@pytest.mark.parametrize("password", ["se@cret", "se/cret", "se:cret", "se#cret", "@secret@", "se cret"])
@pytest.mark.parametrize("key", ["database_url", "broker_url"])
def test_no_part_of_an_odd_password_is_shown(password, key):
    scheme = "mysql" if key == "database_url" else "redis"
    found = faults(node={key: f"{scheme}://qct:{password}@host:no-port/0"})
    assert found and not re.search("se|cret|ret", found[0].partition(" = ")[2].partition(": ")[0])


@pytest.mark.parametrize(
    "url", ["redis://:p@ss@host:6379/0", "rediss://host/1?ssl_cert_reqs=none", "redis://[::1]:6379"]
)
def test_addresses_of_redis_are_taken(url):
    assert load_settings(None, node={"broker_url": url}).node.broker_url == url


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[node]\ndicom_prot = 1\n", "node.dicom_prot = 1: there is no such setting; did you mean dicom_port?"),
        ("[nodes]\n", "nodes: there is no such setting; did you mean node?"),
        ('[[peer]]\nname = "x"\n', "peer: there is no such setting; did you mean peers?"),
        (
            "[jobs]\nquiet_seconds = 1\n",
            "jobs.quiet_seconds = 1: there is no such setting; did you mean intake.quiet_seconds?",
        ),
        ("[node]\nzzz = 1\n", "node.zzz = 1: there is no such setting"),
        (
            '[[routes]]\nname = "q"\ndestination = ["pacs"]\n',
            "routes.0.destination: there is no such setting; did you mean destinations?",
        ),
        (
            '[[routes]]\nname = "q"\ndestinations = "pacs"\n',
            "routes.0.destinations = 'pacs': write a list: [\"pacs\"]",
        ),
        ('[[routes]]\nname = "q"\nmodality = "CT"\n', "routes.0.modality = 'CT': write a list: [\"CT\"]"),
    ],
)
def test_a_misspelt_key_and_a_missing_list_say_what_was_meant(tmp_path, text, fault):
    assert faults(written(tmp_path, text)) == [fault]


def test_a_misspelt_environment_variable_is_a_fault(monkeypatch):
    monkeypatch.setenv("QCT_NODE_NOD__DICOM_PORT", "1")
    monkeypatch.setenv("QCT_NODE_NODE__HTTP_PROT", "1")
    assert faults() == [
        "node.http_prot = '1': there is no such setting; did you mean http_port?",
        "QCT_NODE_NOD__DICOM_PORT: there is no section nod; did you mean node?",
    ]


def test_files_that_are_not_there_or_not_toml(tmp_path):
    assert "no such settings file" in faults(tmp_path / "absent.toml")[0]
    assert "node.toml" in faults(written(tmp_path, "[node\n"))[0]


def test_unsupported_settings_are_refused_and_not_ignored():
    assert "leave it empty" in faults(node={"storage_url": "s3://bucket"})[0]


def test_postgresql_is_refused_in_one_sentence():
    [found] = faults(node={"database_url": "postgresql+psycopg://qct:secret@db/qct"})
    assert found == (
        "node.database_url = 'postgresql+psycopg://qct:***@db/qct': PostgreSQL is not supported yet; "
        "leave it empty for the SQLite file under the data folder"
    )


@pytest.mark.parametrize(
    ("url", "good"), [("sqlite:////srv/a.db", True), ("sqlite://", False), ("oracle://x/y", False)]
)
def test_the_ledger_is_an_sqlite_file(url, good):
    if good:
        assert load_settings(None, node={"database_url": url}).database_url == url
    else:
        assert "expected sqlite:/// and the path of a file" in faults(node={"database_url": url})[0]


def test_settings_are_frozen():
    with pytest.raises(ValidationError):
        load_settings().node.dicom_port = 1


@pytest.mark.parametrize(("value", "fine"), [("0", True), ("120", True), ("40", False), ("-1", False)])
def test_the_distal_end_follows_the_scan_or_leaves_the_trochanters(monkeypatch, tmp_path, value, fine):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QCT_NODE_SEGMENTER__DISTAL_MM", value)
    if fine:
        assert load_settings().segmenter.distal_mm == float(value)
    else:
        with pytest.raises(SettingsError, match="distal_mm"):
            load_settings()
