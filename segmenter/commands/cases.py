"""What the commands on folders of cases share: parameter types, help, known errors, and reading with progress."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from segmenter.commands.progress import bars
from segmenter.errors import SegmenterError

if TYPE_CHECKING:
    from segmenter.evaluation.cases import Case

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
DISTAL = "Cut found and true femurs this many mm below the top of the head before comparing them; 0: not at all."
PLAIN_ERRORS = (SegmenterError, OSError, ModuleNotFoundError)  # shown as one sentence, without a traceback


def read_checked_cases(folder: Path) -> "list[Case]":
    """Return the checked cases; all faults are reported at once."""
    from segmenter.evaluation.cases import read_cases

    count = sum(path.is_dir() for path in folder.iterdir())
    with bars(check=max(count, 1)) as show:
        return read_cases(folder, show["check"])
