"""How far a command is, on stderr: bars with the time left on a terminal, plain lines otherwise."""

import contextlib
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import click

from segmenter.pipeline import STAGES, OnStage

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


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
def bars(**totals: int) -> Iterator[dict[str, Callable[[int], None]]]:
    """Show how far counted works are: bars with the time left on a terminal, a line per tenth otherwise."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)

    if not console.is_terminal:
        yield {name: _Lines(name, total) for name, total in totals.items()}
        return
    with Progress(console=console) as progress:
        tasks = {name: progress.add_task(name, total=total) for name, total in totals.items()}
        yield {name: partial(_advance, progress, task) for name, task in tasks.items()}


class _Lines:
    """One counted work as plain lines, a tenth each, with the time that the rest will take."""

    def __init__(self, name: str, total: int) -> None:
        self.name, self.total = name, total
        self.first: tuple[int, float] | None = None

    def __call__(self, done: int) -> None:
        """Say that so much is done, when it is another tenth or all."""
        now = time.monotonic()
        if self.first is None:
            self.first = done, now
        if done % max(self.total // 10, 1) and done != self.total:
            return
        line, (begun, since) = f"{self.name} {done}/{self.total}", self.first
        if begun < done < self.total:
            left = (now - since) / (done - begun) * (self.total - done)
            line += f", {_duration(left)} left"
        click.echo(line, err=True)


def _duration(seconds: float) -> str:
    """Return a time as people say it."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _advance(progress: "Progress", task: "TaskID", done: int) -> None:
    progress.update(task, completed=done)
