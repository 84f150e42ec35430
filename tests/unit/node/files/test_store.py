"""Keys name files of the store, and nothing outside it."""

import pytest

from node.files.store import FileStore


@pytest.fixture
def store(tmp_path):
    return FileStore(tmp_path / "data")


@pytest.mark.parametrize("key", ["inbox/1.2/1.2.3/a.dcm", "results/j/seg.dcm", "x"])
def test_a_key_comes_back_from_its_path(store, key):
    assert store.path(key) == store.root / key
    assert store.key(store.path(key)) == key


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../x", "inbox/../../x", ".."])
def test_keys_lead_to_nothing_outside(store, key):
    with pytest.raises(ValueError, match="not a key"):
        store.path(key)
    assert not store.exists(key)


def test_paths_outside_have_no_key(store, tmp_path):
    with pytest.raises(ValueError, match="subpath"):
        store.key(tmp_path / "elsewhere")


def test_what_is_removed_is_gone_with_its_empty_folders(store):
    keys = [f"inbox/1.2/1.2.3/{name}" for name in ("a.dcm", "b.dcm")]
    store.path(keys[0]).parent.mkdir(parents=True)
    for key in keys:
        store.path(key).write_bytes(b"x")
    store.remove(keys[0])
    store.remove(keys[0])
    assert [store.exists(key) for key in keys] == [False, True]
    store.remove_durably("inbox/1.2/1.2.3", keys)
    assert not store.exists("inbox/1.2") and store.exists("inbox")
