"""How far a command is, in plain lines: often enough to watch, with the time left."""

import pytest

from segmenter.commands import progress
from segmenter.commands.progress import bars


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a list whose one number is the time in seconds."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_line_per_tenth_says_count_note_and_time_left(clock: list[float], capfd: pytest.CaptureFixture[str]):
    with bars(fine=20) as show:
        for done in range(1, 21):
            clock[0] += 12.0
            show["fine"](done, f"loss {1 / done:.3f}")
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[0] == "fine 2/20, loss 0.500, 4 min left"
    assert lines[-2] == "fine 18/20, loss 0.056, 24 s left"
    assert lines[-1] == "fine 20/20, loss 0.050"


def test_slow_work_says_a_line_per_minute(clock: list[float], capfd: pytest.CaptureFixture[str]):
    with bars(fine=1000) as show:
        for done in range(1, 11):
            clock[0] += 25.0
            show["fine"](done)
    lines = capfd.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == ["fine 3/1000", "fine 6/1000", "fine 9/1000"]
    assert lines[0].endswith("6 h 55 min left")


def test_work_that_was_taken_up_is_paced_by_what_this_process_did(
    clock: list[float], capfd: pytest.CaptureFixture[str]
):
    with bars(fine=100) as show:
        for done in range(81, 91):
            clock[0] += 2.0
            show["fine"](done)
    assert capfd.readouterr().err.splitlines() == ["fine 90/100, 20 s left"]
