"""Requestors that send false lengths, floods or slow data: each is aborted or answered, and the node keeps running."""

import os
import resource
import struct
import subprocess
import sys
import time
import zlib
from contextlib import ExitStack
from pathlib import Path

import pytest
import raw_caller as raw
from pydicom.uid import UID
from raw_caller import COMMAND, COMMAND_END, CT, DATA, DATA_END, EXPLICIT, Caller, p_data, pdu, pdv
from serve_process import REPOSITORY, ServeProcess

from node.errors import StoreStatus
from node.records.states import JobState, Reason
from node.scu.requestor import echo
from node.scu.storage import send_files

DEFLATED, RLE = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
ABORT = 7


def abort(reason, source=2):
    return ABORT, bytes((0, 0, source, reason)).hex()


@pytest.fixture
def target(start_node, poll):
    """Return a function that starts a node; at the end it must work normally."""
    started = []

    def start(**sections):
        started.append(start_node(**sections))
        return started[-1]

    yield start
    for node in started:
        echo(node.peer, "CHECKER")
        poll(lambda node=node: node.ledger.associations.count_open() == 0, what="the end of all associations")
        assert [path.name for path in node.stored() if path.parent.name == "tmp"] == []


def events(node):
    return {(job.code, job.reason) for job in node.ledger.queries.jobs(JobState.DECLINED)}


# ---- bytes that are not DICOM


BROKEN = {
    "an endless PDU": (pdu(4, b"", 0xFFFFFFFF), 6),
    "a PDU larger than negotiated": (pdu(4, b"", 262_145), 6),
    "an unknown PDU": (pdu(9, b""), 1),
    "a value beyond its PDU": (p_data(pdv(1, COMMAND, b"x", 0xFFFFFFFF)), 6),
    "a value without a header": (p_data(b"\0\0\0\0\1"), 6),
    "a value of no length": (p_data(pdv(1, COMMAND, b"", 0)), 6),
    "a context never offered": (p_data(pdv(9, COMMAND_END, raw.echo_command())), 6),
    "a data set without a command": (p_data(pdv(1, DATA_END, b"\0" * 100)), 2),
    "a second request": (raw.request(), 2),
    "a response without a request": (pdu(2, bytes(80)), 2),
    "a command in the middle of an object": (
        p_data(pdv(1, COMMAND_END, raw.store_command("1.2.3")), pdv(1, DATA, b"\0" * 8)) + raw.echo(), 2,
    ),
    "a command in two contexts": (p_data(pdv(1, COMMAND, b"\0\0"), pdv(3, COMMAND, b"\0\0")), 2),
    "a command without end": (p_data(pdv(1, COMMAND, b"\0" * 16_000)) * 2, 0),
    "a command that is none": (p_data(pdv(1, COMMAND_END, b"\x08\0\0\0\xff\xff\xff\xff")), 0),
    "a service never offered": (p_data(pdv(1, COMMAND_END, raw.store_command("1.2", e0100=0x0020))), 0),
    "a C-STORE without a data set": (p_data(pdv(1, COMMAND_END, raw.store_command("1.2", e0800=0x0101))), 0),
}  # fmt: skip


@pytest.mark.parametrize(("said", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_protocol_violation_is_aborted(target, said, reason):
    node = target()
    with Caller(node.receiver.port).established() as caller:
        caller.send(said)
        assert caller.ending() == [abort(reason)]


@pytest.mark.parametrize(
    ("said", "ending"),
    [
        (raw.echo(), [abort(2)]),
        (pdu(1, b"", 0xFFFFFFFF), [abort(6)]),
        (pdu(1, b"\xff" * 100), [abort(6)]),
        (b"GET / HTTP/1.1\r\n\r\n", [abort(1)]),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", [abort(1)]),
        (raw.ABORT, []),
    ],
    ids=["data first", "endless", "garbage", "HTTP", "TLS", "abort first"],
)
def test_a_first_pdu_that_is_not_a_request_gets_no_association(target, said, ending):
    node = target()
    with Caller(node.receiver.port) as caller:
        caller.send(said)
        assert caller.ending() == ending
    assert {code for code, _ in events(node)} == ({Reason.PROTOCOL_FAULT} if ending else set())


# ---- objects


@pytest.mark.parametrize(
    "uid", ["../../../../tmp/evil", "1.2\0.3", "1." * 32 + "1", "", "1.2\n3", "1.2.ü", ".", "%2e%2e"]
)
@pytest.mark.parametrize("place", ["class", "object"])
def test_hostile_uids_in_the_command(target, ct_series, uid, place):
    node = target()
    sop_uid, content = raw.data_set(ct_series(1)[0])
    command = raw.store_command(uid) if place == "object" else raw.store_command(sop_uid, sop_class=uid)
    with Caller(node.receiver.port).established() as caller:
        caller.send(p_data(pdv(1, COMMAND_END, command)), p_data(pdv(1, DATA_END, content)))
        answer = caller.answer()
        assert answer.Status == StoreStatus.CANNOT_UNDERSTAND and "is not a valid UID" in answer.ErrorComment
        caller.send(raw.RELEASE)
        assert caller.pdu()[0] == 6
    assert node.stored() == []
    [(code, reason)] = events(node)
    assert code == Reason.INVALID_UID and (not uid.strip() or uid not in reason) and reason.isprintable()


def in_syntax(path, syntax, dcmtk):
    option = {BIG_ENDIAN: "+tb", raw.IMPLICIT: "+ti", DEFLATED: "+td"}.get(syntax)
    if option:
        assert dcmtk("dcmconv", option, path, path).returncode == 0
    elif syntax == RLE:
        assert dcmtk("dcmcrle", path, path).returncode == 0
    return raw.data_set(path)


@pytest.mark.parametrize("syntax", [EXPLICIT, raw.IMPLICIT, BIG_ENDIAN, DEFLATED, RLE], ids=lambda uid: UID(uid).name)
def test_a_truncated_object_is_refused_at_every_length(target, ct_series, dcmtk, syntax):
    node = target()
    sop_uid, content = in_syntax(ct_series(1)[0], syntax, dcmtk)
    with Caller(node.receiver.port).established((raw.context(1, CT, syntax),)) as caller:
        for number, size in enumerate([0, 1, 7, 150, 400, len(content) // 2, len(content) - 9, len(content) - 2], 1):
            caller.send(raw.store(sop_uid, content[:size], number))
            answer = caller.answer()
            assert answer.Status in {StoreStatus.CANNOT_UNDERSTAND, StoreStatus.MISMATCH}, size
            assert answer.MessageIDBeingRespondedTo == number
        assert node.stored() == []
        caller.send(raw.store(sop_uid, content, 99))
        assert caller.answer().Status == 0
        caller.send(raw.RELEASE)
    assert len(node.stored()) == 1


def nest(depth):
    """Return a sequence within a sequence and so on, of undefined length and never ended."""
    inner = struct.pack("<HH2sHI", 0x0009, 0x1001, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    return inner * depth


@pytest.mark.parametrize("depth", [40, 1000, 100_000])
def test_deeply_nested_sequences_do_not_break_the_thread(target, depth):
    node = target()
    with Caller(node.receiver.port).established() as caller:
        caller.send(raw.store("1.2.3", nest(depth)))
        assert caller.answer().Status == StoreStatus.CANNOT_UNDERSTAND
        caller.send(raw.RELEASE)


def test_an_object_over_the_size_limit_is_refused_before_its_end(target, ct_series, poll):
    node = target(intake={"maximum_object_mb": 1})
    sop_uid, _ = raw.data_set(ct_series(1)[0])
    piece = p_data(pdv(1, DATA, bytes(100_000)))
    with Caller(node.receiver.port).established() as caller:
        caller.send(p_data(pdv(1, COMMAND_END, raw.store_command(sop_uid))), piece)
        poll(node.stored, what="the object on its way")
        caller.send(piece * 10)
        poll(lambda: not node.stored(), what="the end of the file")
        poll(lambda: events(node), what="the event")
        caller.send(piece * 30)
        assert node.stored() == []
        caller.send(p_data(pdv(1, DATA_END, b"")))
        answer = caller.answer()
        assert answer.Status == StoreStatus.CANNOT_UNDERSTAND
        caller.send(raw.echo(), raw.RELEASE)
        assert caller.answer().Status == 0
    assert events(node) == {(Reason.TOO_LARGE, "the object is larger than intake.maximum_object_mb = 1")}


def test_a_disk_error_during_an_object(target, ct_series):
    node = target()
    sop_uid, content = raw.data_set(ct_series(1)[0])
    half = len(content) // 2
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    big = content + struct.pack("<HH2sHI", 0xFFFC, 0xFFFC, b"OB", 0, 40_000_000) + bytes(40_000_000)
    with Caller(node.receiver.port).established() as caller:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000_000, limits[1]))
        try:
            caller.send(raw.store(sop_uid, big, room=200_000))
            answer = caller.answer()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert (answer.Status, answer.ErrorComment) == (
            StoreStatus.OUT_OF_RESOURCES, "the object could not be written to disk: File too large",
        )  # fmt: skip
        assert node.stored() == []
        caller.send(raw.store(sop_uid, content, 2, room=half))
        assert caller.answer().Status == 0
        caller.send(raw.RELEASE)


def test_a_private_sop_class_is_rejected_and_recorded(target, poll):
    node = target()
    with Caller(node.receiver.port) as caller:
        caller.send(raw.request((raw.context(1, "1.2.840.113619.4.2", EXPLICIT), raw.context(3, "9.9", EXPLICIT))))
        kind, body = caller.pdu()
        assert kind == 2 and {n: result for n, (result, _) in raw.answered_contexts(body).items()} == {1: 3, 3: 3}
        caller.send(raw.RELEASE)
        assert caller.pdu()[0] == 6
    [(code, reason)] = poll(lambda: events(node), what="a row")
    assert code == Reason.EMPTY_ASSOCIATION and "1.2.840.113619.4.2" in reason and "9.9" in reason


# ---- time


def test_a_connection_without_a_request_is_closed(target, monkeypatch):
    monkeypatch.setattr("node.scp.acceptor.REQUEST_SECONDS", 0.3)
    node = target()
    with Caller(node.receiver.port) as silent, Caller(node.receiver.port) as halfway:
        halfway.send(raw.request()[:50])
        assert silent.ending() == halfway.ending() == []


def test_an_idle_association_is_aborted(target, ct_series, poll):
    node = target(intake={"network_timeout_seconds": 0.3})
    sop_uid, content = raw.data_set(ct_series(1)[0])
    with Caller(node.receiver.port).established() as idle, Caller(node.receiver.port).established() as halfway:
        halfway.send(raw.store(sop_uid, content)[:5000])
        assert idle.ending() == halfway.ending() == []
    poll(lambda: not node.stored(), what="the end of the half object")


def test_an_association_over_the_time_limit_is_aborted(target):
    node = target(intake={"association_seconds": 0.5})
    said = []
    with Caller(node.receiver.port).established() as busy:
        while not said or said[-1][0] == 4:
            busy.send(raw.echo())
            said.append(busy.pdu())
    assert said[-1] == (ABORT, bytes((0, 0, 2, 0))) and len(said) > 1


def test_slow_senders_do_not_block_others(target, ct_series):
    """Two hundred connections from one address that send a byte now and then; a scanner at another address."""
    node = target()
    request = raw.request()
    with ExitStack() as stack:
        slow_senders = [stack.enter_context(Caller(node.receiver.port, source="127.0.0.66")) for _ in range(200)]
        for at in range(3):
            for slow_sender in slow_senders:
                try:
                    slow_sender.send(request[at : at + 1])
                except OSError:
                    continue  # too many from one address: closed at once
            began = time.monotonic()
            assert all(sent.ok for sent in node.send(*ct_series(3)))
            assert time.monotonic() - began < 10, "the scanner waited for a slow sender"


# ---- a process: memory, threads, file descriptors


class Watched(ServeProcess):
    """`qct-node serve` with one receiver, whose log is kept."""

    def start(self):
        self.log = self.settings.data.parent / "serve.log"
        command = [sys.executable, "-m", "node", "serve"]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(command, cwd=REPOSITORY, env=self._environment, stderr=log)
        self._poll(self.answers, what="qct-node serve")

    @property
    def receiver(self):
        [pid] = self.receivers()
        return pid

    def usage(self):
        """Return resident memory in MB, threads and open files of the receiver."""
        status = dict(line.split(":", 1) for line in Path(f"/proc/{self.receiver}/status").read_text().splitlines())
        files = len(list(Path(f"/proc/{self.receiver}/fd").iterdir()))
        return int(status["VmRSS"].split()[0]) // 1000, int(status["Threads"]), files


@pytest.fixture
def watched(tmp_path, free_port, poll):
    (tmp_path / "data").mkdir()
    server = Watched(tmp_path / "data", free_port(), poll, QCT_NODE_INTAKE__RECEIVERS="1")
    server.start()
    yield server
    assert server.answers()
    server.kill()
    assert "Traceback" not in server.log.read_text()


def connect_and_close(port):
    Caller(port).close()


def request_and_close(port):
    with Caller(port) as caller:
        caller.send(raw.request())


def request_and_abort(port):
    with Caller(port) as caller:
        caller.send(raw.request(), raw.ABORT)


def established(port):
    """Get an association; while too many connections from this address wait, the node closes further ones at once."""
    while True:
        caller = Caller(port)
        try:
            return caller.established()
        except (AssertionError, OSError):
            caller.close()
            time.sleep(0.05)


def establish_and_reset(port):
    established(port).reset()


def begin_and_reset(port):
    caller = established(port)
    caller.send(raw.store("1.2.3", bytes(40_000))[:30_000])
    caller.reset()


WAYS = {connect_and_close: 7000, request_and_close: 1200, request_and_abort: 1200, establish_and_reset: 400,
        begin_and_reset: 200}  # fmt: skip


def test_ten_thousand_dropped_connections_leave_nothing_behind(watched, poll, ct_series):
    port, idle = watched.peer.port, watched.usage()
    for way in WAYS:
        way(port)
    poll(lambda: watched.usage()[1] <= idle[1] + 1, what="the first of each to end")
    before = watched.usage()
    for way, times in WAYS.items():
        for _ in range(times):
            way(port)

    def calm():
        _, threads, files = watched.usage()
        return abs(threads - before[1]) <= 1 and abs(files - before[2]) <= 3

    poll(calm, what=f"threads and files as before, {before}")
    assert watched.usage()[0] < before[0] + 40
    assert all(sent.ok for sent in send_files(watched.peer, ct_series(2), "SCANNER"))
    assert len(list((watched.settings.data / "inbox/tmp").iterdir())) == 0
    assert rows(watched) < 20


def rows(server):
    from node.ledger import Ledger

    ledger = Ledger.of(server.settings)
    count = len(ledger.queries.jobs())
    assert ledger.associations.count_open() == 0
    ledger.close()
    return count


def bomb(megabytes):
    """Return a deflated data set of this many megabytes of zeros after a valid beginning."""
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    begin = packer.compress(struct.pack("<HH2sHI", 0x0009, 0x1001, b"OB", 0, megabytes << 20))
    begin += packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)  # the steady state
    return begin + block * megabytes + packer.flush(zlib.Z_FINISH)


def test_compression_bombs_false_lengths_and_floods_use_little_memory(watched, poll):
    port = watched.peer.port
    before = watched.usage()
    content = bomb(4000)
    assert len(content) < 6_000_000
    with Caller(port, 60).established((raw.context(1, CT, DEFLATED),)) as caller:
        caller.send(raw.store("1.2.3", content))
        assert caller.answer().Status == StoreStatus.CANNOT_UNDERSTAND
    assert watched.usage()[0] < before[0] + 60, "inflated memory"
    with ExitStack() as stack:
        for _ in range(100):
            caller = stack.enter_context(Caller(port))
            caller.send(pdu(1, b"\0" * 1000, 262_000))  # a request that never becomes complete
        poll(lambda: watched.usage()[1] > before[1] + 50, what="the callers to be taken")
        assert watched.usage()[0] < before[0] + 100
    poll(lambda: watched.usage()[1] <= before[1] + 1, what="the threads to end")


def test_the_node_survives_a_lack_of_threads(watched, poll):
    pid = watched.receiver
    size = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    limits = resource.prlimit(pid, resource.RLIMIT_AS)
    resource.prlimit(pid, resource.RLIMIT_AS, (size + 10_000_000, limits[1]))
    with ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(Caller(watched.peer.port))
        poll(lambda: "could not be served" in watched.log.read_text(), what="a connection too many")
    resource.prlimit(pid, resource.RLIMIT_AS, limits)
    poll(watched.answers, what="an answer")
    assert watched.receiver == pid


def test_the_node_survives_a_lack_of_file_descriptors(watched, poll):
    pid = watched.receiver
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (watched.usage()[2] + 10, limits[1]))
    with ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(Caller(watched.peer.port))
        poll(lambda: "Too many open files" in watched.log.read_text(), what="a connection too many")
    poll(watched.answers, what="an answer")
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    assert watched.receiver == pid


def test_changing_ae_titles_do_not_fill_the_ledger(target):
    """A thousand rejected titles from one address; another address is still recorded."""
    node = target()
    for number in range(500):
        with Caller(node.receiver.port) as caller:
            caller.send(raw.request(called="ORTHANC", calling=f"C{number}"))
            assert caller.pdu()[0] == 3
        with Caller(node.receiver.port).established((), calling=f"D{number}") as caller:
            caller.send(raw.RELEASE)
            assert caller.pdu()[0] == 6
    assert 50 < len(node.ledger.queries.jobs()) <= 100
    with Caller(node.receiver.port, source="127.0.0.66") as caller:
        caller.send(raw.request(called="ORTHANC", calling="ELSEWHERE"))
        assert caller.pdu()[0] == 3
    assert "ELSEWHERE" in {job.calling_ae for job in node.ledger.queries.jobs()}
