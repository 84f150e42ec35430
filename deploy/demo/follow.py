"""Follow the jobs of the node to their end: progress bars on a terminal, else plain lines."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

Job = dict[str, Any]

STEPS = ("received", "complete", "queued", "running", "delivering", "delivered")
FINAL = {"delivered", "committed", "declined", "held", "failed", "cancelled"}
PERIOD_S = 0.5


class Lines:
    """Prints a line whenever the state or stage of a job changes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._printed: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, job: Job) -> None:
        """Print the job if it has changed."""
        text = describe(job)
        if self._printed.get(job["id"]) != text:
            self._printed[job["id"]] = text
            self._console.print(f"{time.strftime('%H:%M:%S')} {text}", highlight=False, markup=False, soft_wrap=True)


class Bars:
    """Shows one bar per job, with one step per state."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(), BarColumn(len(STEPS) * 4), TextColumn("{task.description}"), TimeElapsedColumn(),
            console=console,
        )  # fmt: skip
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, job: Job) -> None:
        """Move the job's bar to its state."""
        if job["id"] not in self._tasks:
            self._tasks[job["id"]] = self._progress.add_task("", total=len(STEPS))
        done = STEPS.index(job["state"]) + 1 if job["state"] in STEPS else len(STEPS)
        self._progress.update(self._tasks[job["id"]], completed=done, description=describe(job))


def describe(job: Job) -> str:
    """Return one line about a job, without patient data."""
    doing = f" ({job['stage']})" if job["state"] == "running" and job.get("stage") else ""
    why = f": {job['reason']}" if job.get("reason") and job["state"] in FINAL else ""
    return f"job {job['id']}, {job['instances']} objects: {job['state']}{doing}{why}"


def follow(jobs: Callable[[], list[Job]], console: Console, timeout_s: float) -> list[Job]:
    """Return the jobs as soon as there are some and all are final. Raises TimeoutError after `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    with Bars(console) if console.is_terminal else Lines(console) as display:
        while time.monotonic() < deadline:
            rows = jobs()
            for row in rows:
                display.show(row)
            if rows and all(row["state"] in FINAL for row in rows):
                return rows
            time.sleep(PERIOD_S)
    raise TimeoutError(f"has not finished within {timeout_s:.0f} s")
