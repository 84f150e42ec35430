import hashlib
import shutil
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydicom import dcmread

from node.dicom.file_meta import encode_file_meta
from node.errors import InboxError, ObjectError, StoreStatus
from node.files.inbox import OPEN_FOLDERS, Inbox

UIDS = ("1.2", "1.2.3", "1.2.3.4")
SYNTAX = "1.2.840.10008.1.2.1"
META = encode_file_meta("1.2.840.10008.5.1.4.1.1.2", UIDS[2], SYNTAX, "SCANNER")


@pytest.fixture
def inbox(tmp_path):
    return Inbox(tmp_path)


def keep(inbox, content=b"content", uids=UIDS):
    file = inbox.create(META, SYNTAX)
    try:
        file.write(memoryview(content))
        return file.store(*uids)
    except (InboxError, ObjectError):
        file.discard()
        raise


def files(tmp_path):
    return sorted(path for path in (tmp_path / "inbox").rglob("*") if path.is_file())


def test_an_object_is_stored_under_its_uids(inbox, tmp_path):
    kept = keep(inbox)
    path = tmp_path / kept.key
    assert kept.key.startswith("inbox/1.2/1.2.3/")
    assert kept.digest == hashlib.sha256(SYNTAX.encode() + b"content").hexdigest()
    assert path.name.startswith(f"1.2.3.4-{kept.digest[:16]}-")
    assert path.read_bytes() == META + b"content"
    assert kept.size == len(META) + 7
    assert files(tmp_path) == [path]


@pytest.mark.parametrize("calling_ae", ["SCANNER", "CT1", ""])
def test_the_file_meta_information_is_what_part_10_asks_for(inbox, calling_ae):
    file = inbox.create(encode_file_meta("1.2.840.10008.5.1.4.1.1.2", UIDS[2], SYNTAX, calling_ae), SYNTAX)
    meta = dcmread(inbox.data / file.store(*UIDS).key).file_meta
    assert (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID) == ("1.2.840.10008.5.1.4.1.1.2", UIDS[2])
    assert (meta.TransferSyntaxUID, meta.SourceApplicationEntityTitle or "") == (SYNTAX, calling_ae)
    assert meta.FileMetaInformationVersion == b"\0\1"


def test_no_two_arrivals_share_a_file(inbox):
    first, again, other = keep(inbox), keep(inbox), keep(inbox, b"other")
    assert first.digest == again.digest != other.digest
    assert len({first.key, again.key, other.key}) == 3


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("evil", ["../../evil", "..", "", "/etc", "1.2/3", "1.2\0"])
def test_hostile_uids_touch_nothing(inbox, tmp_path, place, evil):
    uids = list(UIDS)
    uids[place] = evil
    with pytest.raises(ObjectError, match="not a valid UID"):
        keep(inbox, uids=uids)
    assert [path.name for path in tmp_path.rglob("*")] == ["inbox", "tmp"]


def test_only_the_owner_may_read_the_files(inbox):
    kept = keep(inbox)
    assert stat.S_IMODE((inbox.data / kept.key).stat().st_mode) == 0o600
    assert stat.S_IMODE((inbox.data / kept.key).parent.stat().st_mode) == 0o700


def test_an_object_that_cannot_be_written_leaves_no_file(inbox, tmp_path):
    (tmp_path / "inbox/1.2").write_text("a file where a folder must be")
    with pytest.raises(InboxError, match="could not be written to disk") as failure:
        keep(inbox)
    assert failure.value.retry and failure.value.status is StoreStatus.OUT_OF_RESOURCES
    assert list((tmp_path / "inbox/tmp").iterdir()) == []


def test_a_full_disk_leaves_no_incomplete_file(inbox, tmp_path):
    before = keep(inbox, b"here before")
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    import signal

    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(InboxError, match="could not be written to disk"):
            keep(inbox, bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert files(tmp_path) == [tmp_path / before.key]


def test_a_folder_that_was_removed_meanwhile_is_made_again(inbox):
    shutil.rmtree((inbox.data / keep(inbox).key).parents[1])
    assert (inbox.data / keep(inbox).key).is_file()


def test_many_folders_do_not_use_up_the_file_descriptors(inbox):
    before = len(list(Path("/proc/self/fd").iterdir()))
    with ThreadPoolExecutor(8) as pool:
        kept = list(pool.map(lambda n: keep(inbox, uids=("1.2", f"1.2.{n % 150}", f"1.2.{n}")), range(600)))
    assert all((inbox.data / entry.key).is_file() for entry in kept)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + OPEN_FOLDERS
