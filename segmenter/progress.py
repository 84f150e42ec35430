"""How far a command is, on stderr: bars with the time left on a terminal, plain lines otherwise."""

import contextlib
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

    def plain(name: str, done: int) -> None:
        if done % max(totals[name] // 10, 1) == 0 or done == totals[name]:
            click.echo(f"{name} {done}/{totals[name]}", err=True)

    if not console.is_terminal:
        yield {name: partial(plain, name) for name in totals}
        return
    with Progress(console=console) as progress:
        tasks = {name: progress.add_task(name, total=total) for name, total in totals.items()}
        yield {name: partial(_advance, progress, task) for name, task in tasks.items()}


def _advance(progress: "Progress", task: "TaskID", done: int) -> None:
    progress.update(task, completed=done)
