"""The option `--out`: whether its folder can be written is found out before any work, not after it."""

import tempfile
from pathlib import Path
from typing import Any

import click


class OutFolder(click.Path):
    """A folder to write to; it may not exist yet."""

    def __init__(self) -> None:
        super().__init__(file_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path. Raises ClickException when nothing can be written there."""
        path: Path = super().convert(value, param, ctx)  # type: ignore[assignment]
        absent = [folder for folder in (path, *path.parents) if not folder.exists()]
        try:
            path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path):
                pass
        except OSError as error:
            raise click.ClickException(f"nothing can be written to {path}: {error.strerror}") from error
        finally:
            for folder in absent:  # the command makes them when it has something to write
                if folder.is_dir():
                    folder.rmdir()
        return path


OUT = OutFolder()
