"""Opening, moving and migrating the database."""

import subprocess
import sys
from pathlib import Path

import pytest
from ledger_steps import arrival, only_job, queued_job

from node.errors import LedgerError
from node.ledger import Ledger
from node.records.jobs import Decision
from node.records.states import JobState

S = JobState


def test_the_ledger_survives_being_moved(ledger, tmp_path, tmp_path_factory):
    ledger.instances.record(arrival(ledger))
    ledger.close()
    moved = tmp_path.rename(tmp_path_factory.mktemp("new") / "place")
    again = Ledger.open(f"sqlite:///{moved}/ledger.sqlite3", moved)
    assert again.instances.keys_of(only_job(again).id) == ["inbox/1.dcm"]
    again.close()
    moved.rename(tmp_path)


def test_the_migrations_make_exactly_the_tables(ledger):
    from alembic.autogenerate import compare_metadata
    from alembic.config import Config
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from sqlalchemy import create_engine

    from node.ledger.tables import HEAD, metadata

    config = Config()
    config.set_main_option("script_location", "node.ledger:migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD
    with create_engine(f"sqlite:///{ledger.data}/ledger.sqlite3").connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


def test_a_ledger_of_the_first_layout_is_brought_up_to_date(ledger, clock):
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import create_engine

    first = queued_job(ledger)
    created = ledger.queries.job(first).created
    clock.push(100)
    ledger.instances.record(arrival(ledger, 2))
    later = ledger.queries.jobs(S.RECEIVED)[0].id
    ledger.decisions.apply(later, Decision(S.COMPLETE))
    config = Config()
    config.set_main_option("script_location", "node.ledger:migrations")
    with create_engine(f"sqlite:///{ledger.data}/ledger.sqlite3").begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
    again = Ledger.open(f"sqlite:///{ledger.data}/ledger.sqlite3", ledger.data)
    assert [again.queries.job(job_id).created for job_id in (first, later)] == [created, created]
    assert again.instances.keys_of(later) == ledger.instances.keys_of(later)
    again.close()


def test_a_ledger_of_a_newer_version_is_refused(ledger):
    import sqlite3

    with sqlite3.connect(ledger.data / "ledger.sqlite3") as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(LedgerError, match="newer"):
        Ledger.open(f"sqlite:///{ledger.data}/ledger.sqlite3", ledger.data)


def test_an_unreachable_database_is_one_sentence_without_the_password(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match="cannot be opened"):
        Ledger.open(f"sqlite:///{tmp_path}/file/ledger.sqlite3", tmp_path)
    with pytest.raises(LedgerError) as failure:
        Ledger.open("nonsense+db://user:secret@host/x", tmp_path)
    assert "secret" not in str(failure.value)


OPENER = """
import sys
from pathlib import Path
from node.ledger import Ledger
data = Path(sys.argv[1])
ledger = Ledger.open(f"sqlite:///{data}/ledger.sqlite3", data)
for n in range(20):
    ledger.processes.report(sys.argv[2], "test", f"host-{sys.argv[2]}", n)
"""


def test_several_processes_open_and_write_a_new_ledger_at_once(tmp_path):
    command = [sys.executable, "-c", OPENER, str(tmp_path)]
    started = [
        subprocess.Popen([*command, str(n)], stderr=subprocess.PIPE, cwd=Path(__file__).parents[4]) for n in range(4)
    ]
    for process in started:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors.decode()
    ledger = Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite3", tmp_path)
    assert [p.pid for p in ledger.processes.all()] == [19] * 4
