"""Places shared by real processes: never too many, and none lost with a process that dies."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from node.scp.association_slots import AssociationSlots

ROOT = Path(__file__).parents[4]
HOLD = """
import sys, time
from node.scp.association_slots import AssociationSlots
slots = AssociationSlots(0, int(sys.argv[1]))
print(sum(slots.acquire(caller) is not None for caller in sys.argv[2].split(",")), flush=True)
time.sleep(60)
"""
CHURN = """
import sys
from node.scp.association_slots import AssociationSlots
slots = AssociationSlots(0, int(sys.argv[1]))
for _ in range(300):
    slot = slots.acquire("me", 3)
    if slot is not None:
        assert slots.in_use() <= 5
        slots.release(slot)
"""


@pytest.fixture
def slots():
    made = AssociationSlots(5)
    yield made
    made.close()


@pytest.fixture
def holder(slots):
    """Return a function that starts a process which acquires slots and holds them; it returns process and count."""
    started = []

    def start(program, *arguments):
        command = [sys.executable, "-c", program, str(slots.descriptor), *arguments]
        started.append(
            subprocess.Popen(command, cwd=ROOT, pass_fds=[slots.descriptor], stdout=subprocess.PIPE, text=True)
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_slots_are_acquired_until_there_are_none(slots):
    numbers = [slots.acquire("a") for _ in range(6)]
    assert sorted(numbers[:5]) == list(range(5)) and numbers[5] is None
    slots.release(numbers[2])
    assert (slots.in_use(), slots.acquire("b"), slots.acquire("b")) == (4, numbers[2], None)


def test_a_peer_has_at_most_so_many_and_others_are_not_counted(slots):
    assert [slots.acquire("a", 2) is not None for _ in range(3)] == [True, True, False]
    assert [slots.acquire("b", 2) is not None for _ in range(3)] == [True, True, False]
    assert slots.acquire("a" * 1000) is not None
    assert slots.acquire("ü") is None


def test_some_slots_can_be_left_for_others(slots):
    assert [slots.acquire("a", leave=2) is not None for _ in range(4)] == [True, True, True, False]
    assert [slots.acquire("b") is not None for _ in range(3)] == [True, True, False]


def test_all_processes_share_the_table(slots, holder):
    assert holder(HOLD, "a,a,b").stdout.readline() == "3\n"
    assert slots.in_use() == 3
    assert slots.acquire("a", 2) is None and slots.acquire("b", 2) is not None
    assert holder(HOLD, "c,c,c").stdout.readline() == "1\n"


def test_only_the_slots_of_a_dead_process_are_released(slots, holder):
    mine = slots.acquire("me")
    dead, living = holder(HOLD, "a,a"), holder(HOLD, "a")
    assert dead.stdout.readline() + living.stdout.readline() == "2\n1\n"
    dead.kill()
    dead.wait()
    assert slots.in_use() == 4
    slots.release_process(dead.pid)
    assert slots.in_use() == 2
    assert slots.acquire("a", 1) is None, "the living one still holds its own"
    slots.release_process(dead.pid)
    assert slots.in_use() == 2
    slots.release(mine)


def test_concurrent_processes_never_exceed_the_limit(slots, holder):
    churning = [holder(CHURN) for _ in range(4)]
    assert [process.wait(60) for process in churning] == [0] * 4
    assert slots.in_use() == 0


def test_threads_never_share_a_slot(slots):
    together, most = threading.Barrier(8), []
    before = len(list(Path("/proc/self/fd").iterdir()))

    def work(_):
        together.wait()
        for _ in range(200):
            slot = slots.acquire("me")
            if slot is not None:
                most.append(slots.in_use())
                slots.release(slot)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert max(most) <= 5 and slots.in_use() == 0
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 10
