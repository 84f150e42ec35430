import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from node.errors import NodeError
from node.run.processes import DataLock, Part, ProcessGroup, reserve_port

SLEEPER = "import time; print('up', flush=True); time.sleep(60)"


def python(name: str, code: str) -> Part:
    return Part(name, (sys.executable, "-c", code))


def poll(condition, deadline: float = 10.0):
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError("the condition did not become true in time")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Lines(list):
    def __call__(self, name: str, line: str) -> None:
        self.append((name, line))


@pytest.fixture
def group():
    made = []

    def make(*parts: Part, **options) -> tuple[ProcessGroup, Lines]:
        lines = Lines()
        made.append(ProcessGroup(parts, dict(os.environ), lines, **options))
        return made[-1], lines

    yield make
    for one in made:
        one.stop(0.5)


def test_a_second_lock_on_a_folder_is_refused_and_names_the_holder(tmp_path):
    DataLock(tmp_path).acquire()
    first = DataLock(tmp_path / "a")
    first.acquire()
    with pytest.raises(NodeError, match=f"process {os.getpid()}.*{tmp_path / 'a'}"):
        DataLock(tmp_path / "a").acquire()
    first.release()
    DataLock(tmp_path / "a").acquire()


def test_lock_of_a_killed_process_is_free_again(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from node.run.processes import DataLock\n"
        "lock = DataLock(Path(sys.argv[1])); lock.acquire(); print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(NodeError, match=str(holder.pid)):
        DataLock(tmp_path).acquire()
    holder.kill()
    holder.wait()
    holder.stdout.close()
    DataLock(tmp_path).acquire()


def test_a_port_in_use_is_named():
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(NodeError, match=f"DICOM: cannot listen on 127.0.0.1:{port}"):
            reserve_port("127.0.0.1", port, "DICOM")


def test_a_reserved_port_is_open_to_servers_only():
    with reserve_port("127.0.0.1", 0, "DICOM") as held:
        address = held.getsockname()
        with closing(socket.socket()) as stranger, pytest.raises(OSError, match="in use"):
            stranger.bind(address)
        with socket.create_server(address) as server, socket.create_connection(address) as client:
            assert server.accept()[1] == client.getsockname()


def test_lines_of_a_part_are_passed_on_with_its_name(group):
    one, lines = group(python("one", "import sys; print('out'); print('err', file=sys.stderr); input()"))
    one.watch()
    poll(lambda: ("one", "out") in lines and ("one", "err") in lines)


def test_killed_part_starts_again_after_a_growing_pause(group):
    now = [0.0]
    one, _ = group(python("one", SLEEPER), clock=lambda: now[0])
    pids = set()
    for pause in (1.0, 2.0, 4.0):
        one.watch()
        pid = one.pids()["one"]
        assert pid not in pids
        pids.add(pid)
        os.kill(pid, signal.SIGKILL)
        poll(lambda: one.watch() or not one.pids())
        now[0] += pause - 0.1
        one.watch()
        assert not one.pids()
        now[0] += 0.2
    assert one.failing(3) == "one"


def test_part_that_ran_long_starts_again_quickly_and_is_not_failing(group):
    now = [0.0]
    one, _ = group(python("one", SLEEPER), clock=lambda: now[0])
    one.watch()
    os.kill(one.pids()["one"], signal.SIGKILL)
    now[0] = 100.0
    poll(lambda: one.watch() or not one.pids())
    now[0] += 0.6
    one.watch()
    assert one.pids()
    assert one.failing(1) is None


def test_a_part_that_ignores_the_stop_signal_is_killed(group):
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPER
    one, lines = group(python("deaf", deaf), python("good", SLEEPER))
    one.watch()
    poll(lambda: {("deaf", "up"), ("good", "up")} <= set(lines))
    pids = one.pids().values()
    one.stop(0.5)
    assert not any(alive(pid) for pid in pids)


def test_children_of_a_part_end_with_it(group):
    start = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {SLEEPER!r}]).pid); "
    code = start + SLEEPER
    one, lines = group(python("one", code))
    one.watch()
    grandchild = int(poll(lambda: [line for _, line in lines if line.isdigit()])[0])
    os.kill(one.pids()["one"], signal.SIGKILL)
    poll(lambda: one.watch() or not one.pids())
    poll(lambda: not alive(grandchild))


@pytest.mark.parametrize("early", [False, True], ids=["after it asked", "before it asked"])
def test_part_dies_with_the_process_that_started_it(early):
    part = f"from node.run.processes import die_with_parent; die_with_parent(); {SLEEPER}"
    parent = (
        "import os, sys, time; from node.run.processes import ProcessGroup, Part\n"
        f"group = ProcessGroup([Part('one', (sys.executable, '-c', {part!r}))], dict(os.environ), print)\n"
        "group.watch(); print(group.pids()['one'], flush=True); time.sleep(60)"
    )
    starter = subprocess.Popen([sys.executable, "-uc", parent], stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    pid = int(starter.stdout.readline())
    if not early:
        assert starter.stdout.readline() == "one up\n"
    starter.kill()
    starter.wait()
    starter.stdout.close()
    poll(lambda: not alive(pid))
