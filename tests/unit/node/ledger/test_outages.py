"""The ledger under a holder of its lock that stands still, and under a file that is lost or damaged."""

import fcntl
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest
from ledger_steps import arrival

from node.errors import LedgerError, StoreStatus
from node.ledger import Ledger
from node.ledger.file_locks import WriteLock, lock_file
from node.ledger.ledger_file import LedgerFile


@pytest.fixture
def database(ledger):
    return ledger.data / "ledger.sqlite3"


def both(ledger):
    """Write and read."""
    with pytest.raises(LedgerError) as written:
        ledger.instances.record(arrival(ledger))
    with pytest.raises(LedgerError) as read:
        ledger.queries.jobs()
    assert written.value.status is StoreStatus.OUT_OF_RESOURCES
    assert str(written.value) == str(read.value)
    return str(read.value)


def test_a_deleted_ledger_is_told_and_nothing_is_acknowledged(ledger, database):
    database.unlink()
    assert "ledger.sqlite3, is gone (No such file or directory): stop the node" in both(ledger)


def test_a_replaced_ledger_is_told(ledger, database):
    shutil.copy(database, database.with_name("copy"))
    database.with_name("copy").rename(database)
    assert "is another one than at the start" in both(ledger)


@pytest.mark.parametrize("size", [0, 100, 20_000])
def test_a_truncated_ledger_is_told(ledger, database, size):
    assert database.stat().st_size > size
    os.truncate(database, size)
    assert "was cut off" in both(ledger)


def test_a_ledger_that_grows_while_several_threads_look_is_whole(tmp_path):
    path = tmp_path / "ledger.sqlite3"
    path.write_bytes(bytes(4096))
    file = LedgerFile(str(path))

    class Overtaken:
        """The path as a thread sees it that is overtaken, once it has the size, by one that sees a longer file."""

        def stat(self):
            found = path.stat()
            path.write_bytes(bytes(8192))
            file._path = path
            file.require()
            return found

    file._path = Overtaken()
    file.require()


def test_a_ledger_that_a_person_compacted_is_whole(ledger, database):
    with closing(sqlite3.connect(database)) as person:
        person.execute("CREATE TABLE ballast (content BLOB)")
        person.execute("INSERT INTO ballast VALUES (zeroblob(200000))")
        person.commit()
        person.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        ledger.queries.jobs()
        before = database.stat().st_size
        person.execute("DROP TABLE ballast")
        person.commit()
        person.execute("VACUUM")
        person.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert database.stat().st_size < before
    ledger.instances.record(arrival(ledger))
    assert len(ledger.queries.jobs()) == 1
    os.truncate(database, 20_000)
    assert "was cut off" in both(ledger)


def test_a_damaged_ledger_is_told(ledger, database):
    ledger.instances.record(arrival(ledger))
    ledger.close()
    content = bytearray(database.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    database.write_bytes(content)
    damaged = Ledger.over(type(ledger.database)(ledger.database.engine, ledger.data, ledger.database.now))
    with pytest.raises(LedgerError, match="the ledger does not answer"):
        damaged.queries.jobs()
    damaged.close()


def test_a_lock_that_another_process_holds_is_given_up_and_its_holder_is_named(tmp_path):
    path = tmp_path / "ledger.sqlite3.turn"
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        lock, began = WriteLock(str(tmp_path / "ledger.sqlite3"), 0.3), time.monotonic()
        with pytest.raises(LedgerError, match=f"process {os.getpid()} has held its lock for more than 0.3 s"), lock:
            pass
        assert 0.3 <= time.monotonic() - began < 5
        fcntl.flock(file, fcntl.LOCK_UN)
        with lock:  # the failed attempt holds nothing
            pass
    lock.close()


def test_a_thread_that_waits_behind_another_names_the_process_that_holds_the_lock(tmp_path):
    hold = "import fcntl, time; fcntl.flock(0, fcntl.LOCK_EX); print('held', flush=True); time.sleep(60)"
    with (tmp_path / "ledger.sqlite3.turn").open("w") as file:
        holder = subprocess.Popen([sys.executable, "-c", hold], stdin=file, stdout=subprocess.PIPE)
        lock = WriteLock(str(tmp_path / "ledger.sqlite3"), 0.2)
        try:
            assert holder.stdout.readline() == b"held\n"
            with pytest.raises(LedgerError, match=f"process {holder.pid} has held"), lock:
                pass
            with lock._threads, pytest.raises(LedgerError, match=f"process {holder.pid} has held"), lock:
                pass
        finally:
            lock.close()
            holder.kill()
            holder.communicate()


def test_a_lock_of_another_thread_is_given_up(tmp_path):
    lock = WriteLock(str(tmp_path / "ledger.sqlite3"), 0.2)
    with lock, pytest.raises(LedgerError, match="does not answer"), lock:
        pass
    lock.close()


def test_a_lock_that_becomes_free_is_taken_at_once(tmp_path):
    with (tmp_path / "one").open("w") as first, (tmp_path / "one").open("w") as second:
        lock_file(first.fileno(), 1)
        with pytest.raises(LedgerError):
            lock_file(second.fileno(), 0)
        fcntl.flock(first, fcntl.LOCK_UN)
        lock_file(second.fileno(), 0)
