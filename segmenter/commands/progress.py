"""The progress of a command on stderr: bars with the time left on a terminal, plain lines otherwise."""

import contextlib
import time
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Protocol

import click

from segmenter.pipeline import STAGES, OnStage

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

LONGEST_SILENCE_S = 60.0  # between plain lines


class Counter(Protocol):
    """A callback for the progress of one task: the count done, and a note to show beside it."""

    def __call__(self, done: int, note: str = "") -> None:
        """Show that this many are done."""


@contextlib.contextmanager
def stages() -> Iterator[OnStage]:
    """Show the stages of one segmentation: a bar on a terminal, one plain line each otherwise."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda stage: click.echo(f"{stage} ...", err=True)
        return
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("", total=len(STAGES))
        yield lambda stage: progress.update(task, description=stage, completed=STAGES.index(stage))


@contextlib.contextmanager
def bars(**totals: int) -> Iterator[dict[str, Counter]]:
    """Show the progress of tasks: bars with the time left on a terminal, a line per tenth or minute otherwise."""
    from rich.console import Console
    from rich.progress import Progress, TextColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield {name: _Lines(name, total) for name, total in totals.items()}
        return
    with Progress(*Progress.get_default_columns(), TextColumn("{task.fields[note]}"), console=console) as progress:
        tasks = {name: progress.add_task(name, total=total, note="") for name, total in totals.items()}
        yield {name: partial(_advance, progress, task) for name, task in tasks.items()}


class _Lines:
    """The progress of one task as plain lines, one per tenth or minute, with the time left."""

    def __init__(self, name: str, total: int) -> None:
        self.name, self.total = name, total
        self.first: tuple[int, float] | None = None
        self.printed = time.monotonic()

    def __call__(self, done: int, note: str = "") -> None:
        """Print the count at every tenth and at the end, or if nothing was printed for a minute."""
        now = time.monotonic()
        begun, since = self.first = self.first or (done, now)
        if done % max(self.total // 10, 1) and done != self.total and now - self.printed < LONGEST_SILENCE_S:
            return
        self.printed = now
        parts = [f"{self.name} {done}/{self.total}", *([note] if note else [])]
        if begun < done < self.total:
            left = (now - since) / (done - begun) * (self.total - done)
            parts.append(f"{_duration(left)} left")
        click.echo(", ".join(parts), err=True)


def _duration(seconds: float) -> str:
    """Return a duration in readable units."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _advance(progress: "Progress", task: "TaskID", done: int, note: str = "") -> None:
    progress.update(task, completed=done, note=note)
