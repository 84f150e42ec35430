import os
import stat

import pytest

from node.errors import Answer, InboxError, ObjectError
from node.inbox import Inbox

UIDS = ("1.2", "1.2.3", "1.2.3.4")


@pytest.fixture
def inbox(tmp_path):
    return Inbox(tmp_path, 0)


def test_bytes_come_back_under_their_uids(inbox, tmp_path):
    kept = inbox.keep(UIDS, b"content", "d1")
    assert kept.path.parent == tmp_path / "inbox/1.2/1.2.3"
    assert kept.path.name.startswith("1.2.3.4-")
    assert kept.path.read_bytes() == b"content"
    assert (kept.digest, kept.size) == ("d1", 7)
    assert list((tmp_path / "inbox/tmp").iterdir()) == []


def test_equal_objects_meet_and_different_ones_stay_apart(inbox):
    first, again, other = (inbox.keep(UIDS, *kept) for kept in ((b"one", "d1"), (b"one", "d1"), (b"two", "d2")))
    assert first.path == again.path != other.path
    inbox.discard(other)
    assert not other.path.exists() and first.path.read_bytes() == b"one"


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("evil", ["../../evil", "..", "", "/etc", "1.2/3"])
def test_hostile_uids_touch_nothing(inbox, tmp_path, place, evil):
    uids = list(UIDS)
    uids[place] = evil
    with pytest.raises(ObjectError, match="no valid UID"):
        inbox.keep(tuple(uids), b"content", "d1")
    assert [path.name for path in tmp_path.rglob("*")] == ["inbox", "tmp"]


def test_nobody_else_may_read_the_files(inbox):
    kept = inbox.keep(UIDS, b"content", "d1")
    assert stat.S_IMODE(kept.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.path.parent.stat().st_mode) == 0o700


def test_a_nearly_full_disk_is_said_with_its_numbers(tmp_path):
    with pytest.raises(InboxError, match=r"only \d+ MB are free on the disk; 1000000000 MB must") as failure:
        Inbox(tmp_path, 10**9).require_room()
    assert failure.value.retry and failure.value.status is Answer.OUT_OF_RESOURCES
    Inbox(tmp_path, 0).require_room()


def test_what_cannot_be_written_leaves_no_trace(inbox, tmp_path):
    (tmp_path / "inbox/1.2").write_text("a file where a folder must be")
    with pytest.raises(InboxError, match="could not be written to disk") as failure:
        inbox.keep(UIDS, b"content", "d1")
    assert failure.value.retry
    assert list((tmp_path / "inbox/tmp").iterdir()) == []


def test_a_full_device_leaves_no_half_file(inbox, tmp_path):
    inbox.keep(("1.2", "1.2.3", "1.1"), b"here before", "d1")
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    import signal

    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(InboxError, match="could not be written to disk"):
            inbox.keep(UIDS, bytes(5000), "d2")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert [path.name[:3] for path in (tmp_path / "inbox").rglob("*") if path.is_file()] == ["1.1"]


def test_leftovers_of_a_crash_are_swept_but_not_those_of_a_running_process(inbox, tmp_path):
    old, new = (tmp_path / "inbox/tmp" / name for name in ("old", "new"))
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    Inbox(tmp_path, 0)
    assert new.exists() and not old.exists()
