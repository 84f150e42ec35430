"""The statements written as SQL leave the same rows as those built by SQLAlchemy."""

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from senders import association
from sqlalchemy import select, update
from sqlalchemy.dialects.sqlite import insert

from node.errors import LedgerError
from node.ledger import Ledger
from node.ledger.instance_statements import InstanceStatements, NewestJob
from node.ledger.instances import Instances
from node.ledger.tables import instances, jobs, series
from node.records.instances import Arrival, Header, Outcome
from node.records.jobs import Decision
from node.records.states import JobState

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
NORMAL = 1  # PRAGMA synchronous: the file of the database is not synced at each commit
SENDERS = [replace(association(), id=f"{number:032x}", started_at=NOON) for number in range(2)]


class Clock:
    """Each look is a second later than the one before."""

    def __init__(self):
        self.looks = 0

    def __call__(self):
        self.looks += 1
        return NOON + timedelta(seconds=self.looks)


class Reference:
    """The same statements, built and run by SQLAlchemy."""

    def __init__(self, connection):
        self.connection = connection

    def newest_job(self, study_uid, series_uid):
        columns = jobs.c["id", "revision", "state", "code", "instances", "removed_at"]
        joined = select(series.c.id, *columns).select_from(series.outerjoin(jobs, jobs.c.series_id == series.c.id))
        wanted = joined.where(series.c.study_uid == study_uid, series.c.series_uid == series_uid)
        row = self.connection.execute(wanted.order_by(jobs.c.revision.desc()).limit(1)).first()
        return None if row is None else NewestJob(*row)

    def insert(self, instance):
        return bool(self.connection.execute(insert(instances).on_conflict_do_nothing(), instance._asdict()).rowcount)

    def variants(self, series_id, sop_uid):
        wanted = select(instances.c.sha256, instances.c.variant)
        own = wanted.where(instances.c.series_id == series_id, instances.c.sop_uid == sop_uid)
        return [tuple(row) for row in self.connection.execute(own)]

    def count_new(self, job_id, number, at):
        values = {"instances": jobs.c.instances + number, "last_slice_at": at}
        self.connection.execute(update(jobs).where(jobs.c.id == job_id).values(values))

    def count_duplicates(self, job_id, number):
        self.connection.execute(update(jobs).where(jobs.c.id == job_id).values(duplicates=jobs.c.duplicates + number))


class ReferenceInstances(Instances):
    statements = Reference


@pytest.fixture
def ledger(tmp_path, empty_ledger):
    shutil.copy(empty_ledger, tmp_path)
    opened = Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite3", tmp_path, Clock())
    yield opened
    opened.close()


def arrival(ledger, series=1, number=1, content=1, sender=0):
    header = Header("1.2", f"1.2.{series}", f"1.2.{series}.{number}", "1.9", modality="CT", spacing=(0.5, 0.5))
    key = f"inbox/{series}/{number}-{content}.dcm"
    return Arrival(header, "1.2.840.10008.1.2.1", key, f"{content:064x}", 10, SENDERS[sender])


def rows(ledger):
    """Return all rows of all tables as SQLite has them; jobs, whose ids are by chance, by their number."""
    with closing(sqlite3.connect(ledger.data / "ledger.sqlite3")) as database:
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
def test_sql_text_and_sqlalchemy_leave_the_same_rows(tmp_path_factory, empty_ledger, groups):
    """groups: arrivals in one transaction as (series, number, content, sender), or what is decided about all jobs."""
    found = []
    for kind in (Instances, ReferenceInstances):
        folder = tmp_path_factory.mktemp(kind.__name__)
        shutil.copy(empty_ledger, folder)
        with closing(Ledger.open(f"sqlite:///{folder}/ledger.sqlite3", folder, Clock())) as opened:
            ledger = replace(opened, instances=kind(opened.database, opened.associations))
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
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == NORMAL
        connection.execute(jobs.insert().values(id="a", state="received", calling_ae="", host="", instances=0,
                                                received_at=NOON, last_slice_at=NOON))  # fmt: skip
        assert connection.execute(select(jobs.c.id)).scalar() == "a"
        raise ZeroDivisionError
    assert ledger.queries.jobs() == []
    assert ledger.instances.record(arrival(ledger)) is Outcome.NEW


def test_nothing_found_is_none_and_no_rows(ledger):
    with ledger.database.write_unsynced() as connection:
        statements = InstanceStatements(connection)
        assert (statements.newest_job("1.2", "1.2.3"), statements.variants(1, "1.2.3.4")) == (None, [])


def be_impatient(ledger):
    """Let the connection for instances give up after 10 ms when the database is locked."""
    with ledger.database.write_unsynced() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout = 10")


def test_a_locked_database_is_an_error_that_may_be_tried_again(ledger):
    ledger.instances.record(arrival(ledger))
    be_impatient(ledger)
    with closing(sqlite3.connect(ledger.data / "ledger.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match="does not answer: database is locked") as failure:
            ledger.instances.record(arrival(ledger, number=2))
    assert failure.value.retry
    assert ledger.instances.record(arrival(ledger, number=2)) is Outcome.NEW
