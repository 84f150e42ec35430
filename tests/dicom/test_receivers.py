"""Several receiver processes on one port: they share it and its limits, and end with their parent."""

import fcntl
import os
import resource
import signal
import subprocess
import sys
import threading
from contextlib import closing

import pytest
import raw_caller as raw
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage
from serve_process import REPOSITORY

from node.ledger import Ledger
from node.scp.listener import FILES
from node.scu.storage import send_files


def associate(serving, title="SCANNER"):
    ae = AE(title)
    ae.add_requested_context(CTImageStorage)
    return ae.associate("127.0.0.1", serving.peer.port, ae_title="QCTNODE")


def established(serving):
    """Return an association, or nothing while the slots of others are not free yet."""
    association = associate(serving)
    return association if association.is_established else None


def test_receivers_share_the_port_and_report_themselves(start_serving, ct_series, poll):
    serving = start_serving(QCT_NODE_INTAKE__RECEIVERS="3")
    poll(lambda: len(serving.receivers()) == 3, what="three receivers")
    ledger = Ledger.of(serving.settings)
    poll(lambda: [p.kind for p in ledger.processes.all()].count("scp") == 3, what="three reports")
    ledger.close()
    files = ct_series(24)
    threads = [threading.Thread(target=send_files, args=(serving.peer, files[n::6], "SCANNER")) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(serving.rows()) == 24


@pytest.mark.parametrize(("soft", "expected"), [(1024, FILES), (FILES + 1, FILES + 1)])
def test_a_receiver_may_open_as_many_files_as_its_connections_need(start_serving, soft, expected):
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] != resource.RLIM_INFINITY and before[1] <= FILES:
        pytest.skip(f"this machine allows {before[1]} files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, before[1]))
    try:
        serving = start_serving(QCT_NODE_INTAKE__RECEIVERS="1")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    [receiver] = serving.receivers()
    assert resource.prlimit(receiver, resource.RLIMIT_NOFILE) == (expected, before[1])


def test_the_hard_limit_of_open_files_is_respected():
    count = "import resource; from node.scp.listener import allow_files; allow_files({}); print(*resource.getrlimit(7))"
    command = ["bash", "-c", f'ulimit -Sn 200; ulimit -Hn 300; exec {sys.executable} -c "$0"']
    for wanted, expected in ((250, "250 300"), (10_000, "300 300"), (100, "200 300")):
        done = subprocess.run([*command, count.format(wanted)], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected


def test_a_killed_receiver_is_restarted_and_no_association_is_refused(start_serving, ct_series, poll):
    serving = start_serving(QCT_NODE_INTAKE__RECEIVERS="1")
    [only] = serving.receivers()
    os.kill(only, signal.SIGKILL)
    # The parent holds the socket: this connection waits for the next receiver.
    assert all(sent.ok for sent in send_files(serving.peer, ct_series(3), "SCANNER", timeout=30))
    [again] = serving.receivers()
    assert again != only


def test_the_association_slots_of_a_killed_receiver_are_freed(start_serving, poll):
    serving = start_serving(QCT_NODE_INTAKE__RECEIVERS="1", QCT_NODE_INTAKE__MAXIMUM_ASSOCIATIONS="1")
    held = associate(serving)
    assert held.is_established
    assert not serving.answers()
    os.kill(serving.receivers()[0], signal.SIGKILL)
    poll(serving.answers, what="a free place")
    held.abort()


def test_the_limit_of_associations_counts_for_all_receivers_together(start_serving, poll):
    serving = start_serving(QCT_NODE_INTAKE__RECEIVERS="2", QCT_NODE_INTAKE__MAXIMUM_ASSOCIATIONS="3")
    held = [poll(lambda: established(serving), what="an association") for _ in range(3)]
    over = associate(serving)
    assert over.is_rejected
    answer = over.acceptor.primitive
    assert (answer.result, answer.result_source, answer.diagnostic) == (2, 3, 2)
    held.pop().release()
    again = poll(lambda: established(serving), what="the free place")
    for association in (*held, again):
        association.release()


def test_receivers_use_the_settings_file_of_their_parent(tmp_path, free_port, ct_series, start_serving):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "own.toml").write_text('[node]\nae_title = "OWNNAME"\ndata = "kept"\n')
    serving = start_serving(QCT_NODE_CONFIG=str(folder / "own.toml"), QCT_NODE_NODE__AE_TITLE="QCTNODE")
    assert all(sent.ok for sent in send_files(serving.peer, ct_series(2), "SCANNER"))


@pytest.mark.parametrize("same", ["port", "data"])
def test_a_second_node_on_the_same_port_or_folder_is_refused(serving, tmp_path, free_port, same):
    data = serving.settings.data if same == "data" else tmp_path / "other"
    port = serving.peer.port if same == "port" else free_port()
    environment = {**os.environ, "QCT_NODE_NODE__DATA": str(data), "QCT_NODE_NODE__DICOM_PORT": str(port)}
    command = [sys.executable, "-m", "node", "serve"]
    ended = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 1
    words = "cannot listen for DICOM" if same == "port" else "already uses"
    assert words in ended.stderr.splitlines()[-1]


def test_a_log_that_nobody_reads_does_not_stop_receiving(start_serving, ct_series):
    """A stopped terminal, or a log shipper that hangs: 1,000 refused objects cause more lines than the pipes hold."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    with closing(os.fdopen(reader, "rb")), closing(os.fdopen(writer, "wb")):
        serving = start_serving(writer, QCT_NODE_INTAKE__RECEIVERS="1")
        sop_uid, content = raw.data_set(ct_series(1)[0])
        with raw.Caller(serving.peer.port).established() as caller:
            for number in range(1000):
                caller.send(raw.store(sop_uid, content[: 5000 + number], 1 + number))
                assert caller.answer().Status == 0xC000
            caller.send(raw.store(sop_uid, content, 2000))
            assert caller.answer().Status == 0
