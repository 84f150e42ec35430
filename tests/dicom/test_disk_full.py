"""A disk that fills while the node receives: acknowledged objects stay, the rest can be sent again."""

import functools
import hashlib
import os
import subprocess
import sys
from contextlib import contextmanager, suppress

import pytest
from ct_factory import CtSpec, write_own_series
from pydicom import dcmread
from pynetdicom.dsutils import split_dataset
from serve_process import ServeProcess
from sql import ask

from node.ledger import Ledger
from node.scu.requestor import echo
from node.scu.storage import send_files

MB = 1_000_000
NO_MARKS = {
    f"QCT_NODE_INTAKE__{mark}": "0" for mark in ("MIN_FREE_MB", "WARN_FREE_MB", "MIN_FREE_INODES", "WARN_FREE_INODES")
}
NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")
OUT_OF_RESOURCES = "answered 0xA700: it is out of resources"


def cannot(what):
    """Skip, or fail under CI."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(what)


def with_mounts(test):
    """Let a test mount file systems: directly as root, or else in a user namespace."""

    @functools.wraps(test)
    def run(request, **given):
        if os.geteuid() == 0:
            return test(request, **given)
        with suppress(FileNotFoundError):
            if subprocess.run([*NAMESPACE, "true"], check=False, capture_output=True).returncode == 0:
                pytest_again = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", request.node.nodeid]
                command = [*NAMESPACE, *pytest_again]
                done = subprocess.run(command, cwd=request.config.rootpath, check=False, capture_output=True, text=True)
                assert done.returncode == 0, done.stdout
                return None
        return cannot("only root may mount here")

    return run


@contextmanager
def small_disk(folder, size):
    """Mount a file system of this size in bytes at a new folder."""
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "qct-test", folder]
    if subprocess.run(mounting, check=False, capture_output=True).returncode != 0:
        cannot("root may not mount here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def running(data, port, poll, **environment):
    server = ServeProcess(data, port, poll, **(NO_MARKS | environment))
    try:
        server.start()
        yield server
    finally:
        server.kill()


def free(folder):
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def send(server, files):
    """Send files and return the outcome of each; files without a response are sent again.

    The sender sometimes loses a response, because pynetdicom's thread takes it off the queue first.
    """
    outcomes = {sent.path: sent for sent in send_files(server.peer, files, "SCANNER", timeout=10)}
    for _ in range(5):
        unanswered = [path for path, sent in outcomes.items() if not sent.ok and "answered 0x" not in sent.reason]
        if not unanswered:
            break
        outcomes |= {sent.path: sent for sent in send_files(server.peer, unanswered, "SCANNER", timeout=10)}
    return list(outcomes.values())


def fill(folder, leave):
    """Write a file that leaves this number of bytes free; return it."""
    filler = folder / "filler"
    with filler.open("wb") as file:
        while (room := free(folder) - leave) > 0:
            file.write(bytes(min(room, MB)))
            file.flush()
    return filler


def assert_kept(server, outcomes):
    """Check that every acknowledged object is in the ledger, with its file and the right digest."""
    rows = server.rows()
    assert {sent.sop_uid for sent in outcomes if sent.ok} <= set(rows)
    for path, sha256 in rows.values():
        meta, offset = split_dataset(path)
        assert hashlib.sha256(str(meta.TransferSyntaxUID).encode() + path.read_bytes()[offset:]).hexdigest() == sha256
    files = {path for path in (server.settings.data / "inbox").rglob("*") if path.is_file()}
    assert files == {path for path, _ in rows.values()}, "nothing that was refused stays behind and eats room"


def assert_sound(server):
    ledger = Ledger.of(server.settings)
    assert ask(server.settings.data, "PRAGMA integrity_check") == [("ok",)]
    jobs = ledger.queries.jobs()
    ledger.close()
    return jobs


def refused(outcomes):
    return [sent for sent in outcomes if not sent.ok]


@with_mounts
@pytest.mark.parametrize(("slices", "pixels"), [(40, 256), (60, 48)], ids=["large files", "small files"])
def test_a_full_disk_loses_nothing_and_the_node_accepts_the_rest_later(
    request, tmp_path, free_port, poll, slices, pixels
):
    """Large slices fill the disk themselves; with small ones, the pages of the ledger run out of space first."""
    first = write_own_series(tmp_path, CtSpec(shape=(2, 64, 64)))
    files = write_own_series(tmp_path, CtSpec(shape=(slices, pixels, pixels)))
    room = sum(file.stat().st_size for file in files) // 2
    with small_disk(tmp_path / "disk", 40 * MB) as disk, running(disk / "data", free_port(), poll) as server:
        before = send(server, first)
        assert refused(before) == []
        filler = fill(disk, leave=room)
        outcomes = send(server, files)
        assert 0 < len(refused(outcomes)) < slices, "the disk was to fill on the way"
        for sent in refused(outcomes):
            assert sent.retry and OUT_OF_RESOURCES in sent.reason
        assert_kept(server, before + outcomes)
        assert_sound(server)

        filler.unlink()
        again = send(server, [sent.path for sent in refused(outcomes)])
        assert refused(again) == []
        assert_kept(server, before + outcomes + again)
        assert sorted(job.instances for job in assert_sound(server) if job.state == "received") == [2, slices]


@with_mounts
def test_a_node_killed_on_a_full_disk_has_everything_it_acknowledged(request, tmp_path, free_port, poll):
    files = write_own_series(tmp_path, CtSpec(shape=(60, 48, 48)))
    with small_disk(tmp_path / "disk", 40 * MB) as disk, running(disk / "data", free_port(), poll) as server:
        outcomes = send(server, files[:5])
        filler = fill(disk, leave=100_000)
        outcomes += send(server, files[5:])
        assert refused(outcomes)
        server.kill()
        filler.unlink()
        server.start()
        assert_kept(server, outcomes)
        assert_sound(server)
        again = send(server, files)
        assert refused(again) == []
        assert_kept(server, again)
        assert all(dcmread(path).pixel_array.shape == (48, 48) for path, _ in server.rows().values())


@with_mounts
@pytest.mark.parametrize("resource", ["MB", "INODES"])
def test_objects_are_refused_below_min_free_mb(request, tmp_path, free_port, poll, resource):
    files = write_own_series(tmp_path, CtSpec(shape=(6, 64, 64)))
    with small_disk(tmp_path / "disk", 60 * MB) as disk:
        inodes = os.statvfs(disk).f_favail
        floor = 30 if resource == "MB" else inodes - 200
        # One receiver: several would each cache the free space for a moment.
        mark = {f"QCT_NODE_INTAKE__MIN_FREE_{resource}": str(floor), "QCT_NODE_INTAKE__RECEIVERS": "1"}
        with running(disk / "data", free_port(), poll, **mark) as server:
            taken = send(server, files[:3])
            assert refused(taken) == []
            clutter = tmp_path / "disk" / "clutter"
            clutter.mkdir()
            if resource == "MB":
                fill(clutter, leave=29 * MB)
            for n in range(300 if resource == "INODES" else 0):
                (clutter / str(n)).touch()
            poll(lambda: refused(send(server, files[3:4])), what="the refusal")
            left = free(disk)
            outcomes = send(server, files[4:])
            assert [OUT_OF_RESOURCES in sent.reason for sent in outcomes] == [True, True]
            assert all(sent.retry for sent in outcomes)
            assert left >= free(disk) > 25 * MB, "it was refused while there was room, and nothing was written"
            echo(server.peer, "SCANNER")
            for path in clutter.iterdir():
                path.unlink()
            poll(lambda: not refused(send(server, files)), what="the room")
            assert len(server.rows()) == 6
