"""The straight way into the ledger writes what the way through SQLAlchemy's engine writes."""

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from senders import association
from sqlalchemy import select

from node.errors import LedgerError
from node.ledger import Ledger
from node.ledger.database import Database
from node.ledger.sqlite_fast_path import Straight
from node.ledger.tables import instances, jobs
from node.records.instances import Arrival, Header, Outcome
from node.records.jobs import Decision
from node.records.states import JobState

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SENDERS = [replace(association(), id=f"{number:032x}", started_at=NOON) for number in range(2)]


class Clock:
    """Each look is a second later than the one before."""

    def __init__(self):
        self.looks = 0

    def __call__(self):
        self.looks += 1
        return NOON + timedelta(seconds=self.looks)


class ThroughEngine(Database):
    """Takes the way through SQLAlchemy's engine."""

    def _beginning(self):
        return self._quick.begin()


@pytest.fixture
def ledger(tmp_path, empty_ledger):
    shutil.copy(empty_ledger, tmp_path)
    opened = Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite3", tmp_path, Clock())
    yield opened
    opened.close()


def arrival(ledger, series=1, number=1, content=1, sender=0):
    header = Header("1.2", f"1.2.{series}", f"1.2.{series}.{number}", "1.9", modality="CT", spacing=(0.5, 0.5))
    path = ledger.data / f"inbox/{series}/{number}-{content}.dcm"
    return Arrival(header, "1.2.840.10008.1.2.1", path, f"{content:064x}", 10, SENDERS[sender])


def rows(ledger):
    """Return all rows of all tables as SQLite has them; jobs, whose ids are by chance, by their number."""
    with closing(sqlite3.connect(ledger.database.engine.url.database)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        known = {table: database.execute(f"SELECT * FROM {table} ORDER BY rowid").fetchall() for table in tables}
    numbers = {row[0]: number for number, row in enumerate(known["jobs"])}
    return {table: [tuple(numbers.get(v, v) for v in row) for row in found] for table, found in known.items()}


groups = st.lists(
    st.one_of(
        st.lists(st.tuples(*[st.integers(1, 2)] * 3, st.integers(0, 1)), min_size=1, max_size=4),
        st.sampled_from([JobState.HELD, JobState.COMPLETE]),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(groups)
def test_both_ways_leave_the_same_rows(tmp_path_factory, empty_ledger, groups):
    """groups: arrivals in one transaction as (series, number, content, sender), or what is decided about all jobs."""
    found = []
    for kind in (Database, ThroughEngine):
        folder = tmp_path_factory.mktemp(kind.__name__)
        shutil.copy(empty_ledger, folder)
        with closing(Ledger.over(kind.open(f"sqlite:///{folder}/ledger.sqlite3", folder, Clock()))) as ledger:
            outcomes = []
            for group in groups:
                if isinstance(group, JobState):
                    for job in sorted(ledger.queries.jobs(JobState.RECEIVED), key=lambda job: job.series_uid):
                        ledger.decisions.apply(job.id, Decision(group))
                else:
                    outcomes += ledger.instances.record_all([arrival(ledger, *one) for one in group])
            found.append((outcomes, rows(ledger)))
    assert found[0] == found[1]


def test_an_exception_undoes_all_and_the_next_transaction_goes_on(ledger):
    with pytest.raises(ZeroDivisionError), ledger.database.write_unsynced() as connection:
        assert isinstance(connection, Straight)
        connection.execute(jobs.insert().values(id="a", state="received", calling_ae="", host="", instances=0,
                                                received_at=NOON, last_slice_at=NOON))  # fmt: skip
        assert connection.execute(select(jobs.c.id)).scalar() == "a"
        raise ZeroDivisionError
    assert ledger.queries.jobs() == []
    assert ledger.instances.record(arrival(ledger)) is Outcome.NEW


def test_nothing_found_is_none_and_no_rows(ledger):
    with ledger.database.write_unsynced() as connection:
        found = connection.execute(select(instances.c.id, instances.c.path))
    assert (found.first(), found.scalar(), list(found.all())) == (None, None, [])


def test_a_locked_database_is_an_error_that_may_be_tried_again(ledger):
    ledger.instances.record(arrival(ledger))
    with closing(sqlite3.connect(ledger.database.engine.url.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        ledger.database._straight._connection.execute("PRAGMA busy_timeout = 10")
        with pytest.raises(LedgerError, match="does not answer: database is locked") as failure:
            ledger.instances.record(arrival(ledger, number=2))
    assert failure.value.retry
    assert ledger.instances.record(arrival(ledger, number=2)) is Outcome.NEW
