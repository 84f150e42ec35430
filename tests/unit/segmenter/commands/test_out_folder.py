"""`--out` is looked at before any work; results are readable by their owner only."""

import os
import resource
import stat

import pytest

from node.cli import main

COMMANDS = {
    "segment": ["segment", "IN"],
    "phantom": ["phantom"],
    "evaluate": ["evaluate", "--cases", "IN"],
    "train": ["train"],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("place", ["file", "read-only file system"])
def test_a_folder_that_cannot_be_written_is_told_before_any_work(tmp_path, capsys, command, place):
    (tmp_path / "in").mkdir()
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "out" if place == "file" else "/proc/out"
    arguments = [str(tmp_path / "in") if word == "IN" else word for word in COMMANDS[command]]
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--out", str(out)])
    assert stop.value.code == 1
    assert capsys.readouterr().err.startswith(f"nothing can be written to {out}: ")


def test_looking_leaves_no_folder_behind_and_pictures_are_told(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "picture.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(SystemExit):
        main(["segment", str(tmp_path / "in"), "--out", str(tmp_path / "a" / "b")])
    assert not (tmp_path / "a").exists()
    assert "in a picture format such as JPEG: export the series as DICOM" in capsys.readouterr().err


def test_files_of_every_command_are_private_and_there_are_no_core_dumps(tmp_path, monkeypatch):
    seen = {}

    def look(*_args, **_options):
        (tmp_path / "made").write_text("")
        seen["mode"] = stat.S_IMODE((tmp_path / "made").stat().st_mode)
        seen["core"] = resource.getrlimit(resource.RLIMIT_CORE)[0]

    before = os.umask(0o022)
    try:
        monkeypatch.setattr("node.cli.cli.main", look)
        main(["segment"])
        assert seen == {"mode": 0o600, "core": 0}
        assert os.umask(0o022) == 0o022  # the caller's own is back
    finally:
        os.umask(before)
